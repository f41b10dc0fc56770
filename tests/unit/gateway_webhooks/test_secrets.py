"""What webhooks are signed with, and that nothing of it is told."""

import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from anypod.api.webhooks import BadSecret, BadUrl, check_url, new_secret, origin_of, signature
from anypod_gateway.webhooks.secrets import Secrets


async def test_each_line_of_a_pools_file_is_a_secret(tmp_path: Path) -> None:
    old, new = new_secret(), new_secret()
    (tmp_path / "default").write_text(f"{new}\n{old}\n")
    found = await Secrets(tmp_path).of("default")
    assert found == [b64decode(one.removeprefix("whsec_")) for one in (new, old)]


async def test_a_pool_without_a_file_has_none(tmp_path: Path) -> None:
    assert await Secrets(tmp_path).of("other") == []
    assert await Secrets(None).of("other") == []


@pytest.mark.parametrize("text", ["hush", "whsec_hush", "whsec_aHVzaA==", "hush\n" * 9, "ü"])
async def test_what_is_no_secret_is_not_quoted(tmp_path: Path, text: str) -> None:
    (tmp_path / "default").write_text(text)
    with pytest.raises(BadSecret) as told:
        await Secrets(tmp_path).of("default")
    assert "hush" not in str(told.value)
    assert "aHVzaA" not in str(told.value)


def test_the_signature_is_that_of_standard_webhooks() -> None:
    key = os.urandom(32)
    expected = hmac.new(key, b'j-1.1700000000.{"a": 1}', hashlib.sha256).digest()
    assert signature(key, "j-1", 1_700_000_000, b'{"a": 1}') == "v1," + b64encode(expected).decode()


@pytest.mark.parametrize(
    "url",
    [
        *("", "nonsense", "/ended", "ftp://example.com/", "https://", "https:///ended"),
        *("https://ada:hush@example.com/", "https://example.com:port/", "https://[::1/"),
        *("https://example.com/ ended", "https://exämple.com/", "https://e.com/" + 2048 * "x"),
        "https://example.com/\r\nHost: other",
    ],
)
def test_what_cannot_be_called_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(BadUrl) as told:
        check_url(url)
    assert "hush" not in str(told.value)


def test_of_a_url_only_the_origin_is_shown() -> None:
    assert origin_of("https://example.com:8443/hush?token=hush") == "https://example.com:8443"
