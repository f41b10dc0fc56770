"""API keys as files: what is one, what is not, and what holds when a file changes or breaks."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anypod_gateway.callers import keys as keys_module
from anypod_gateway.callers.keys import ApiKeys, BrokenKey, KeyCaller, digest_of, parse
from anypod_gateway.callers.rights import VERBS, Verb

KEY = "sk-0123456789abcdefghij"
OTHER = "sk-zyxwvutsrqponmlkjihg"


def may(caller: KeyCaller | None, verb: Verb, pool: str) -> bool:
    assert caller is not None
    return caller.rights.allow(verb, pool)


def narrowed(**members: Any) -> bytes:
    return json.dumps({"key": KEY, **members}).encode()


def name_of(keys: ApiKeys, key: str) -> str | None:
    found = keys.find(digest_of(key))
    return found.name if found is not None else None


@pytest.mark.parametrize("content", [KEY, f"{KEY}\n", f"  {KEY}\r\n", "abcdefghijklmnop+/=="])
def test_a_bare_key_may_do_everything(content: str) -> None:
    found = parse("ci", content.encode())
    assert found.digest == digest_of(content.strip())
    assert all(may(found, verb, pool) for verb in VERBS for pool in ("default", "a.b"))


def test_a_key_of_json_may_do_what_it_says() -> None:
    found = parse("ci", narrowed(pools=["default", "team-*.ns"], verbs=["run"]))
    assert found.digest == digest_of(KEY)
    assert may(found, "run", "default")
    assert may(found, "run", "team-a.ns")
    assert not may(found, "read", "default")
    assert not may(found, "run", "other")


def test_what_a_key_does_not_say_is_not_narrowed() -> None:
    assert may(parse("ci", narrowed()), "admin", "any.where")
    assert may(parse("ci", narrowed(verbs=["read"])), "read", "any.where")
    assert not may(parse("ci", narrowed(pools=[])), "read", "default")
    assert not may(parse("ci", narrowed(verbs=[])), "read", "default")


BROKEN = [
    b"",
    b"\n",
    b"too-short",
    b"a key with spaces in it",
    b"0123456789abcdef\n0123456789abcdef",
    "schlüssel-schlüssel".encode(),
    b"\xff\xfe" * 20,
    b"{",
    b'{"key": "' + KEY.encode() + b'", "key": "' + OTHER.encode() + b'"}',
    b"{}",
    json.dumps({"key": 5}).encode(),
    json.dumps({"key": KEY, "verb": ["read"]}).encode(),
    json.dumps({KEY: "key"}).encode(),
    json.dumps({"key": KEY, "pools": "default"}).encode(),
    json.dumps({"key": KEY, "pools": [KEY.upper()]}).encode(),
    json.dumps({"key": KEY, "pools": [1]}).encode(),
    json.dumps({"key": KEY, "pools": None}).encode(),
    json.dumps({"key": KEY, "verbs": [KEY]}).encode(),
    json.dumps({"key": KEY, "verbs": [["read"]]}).encode(),
    json.dumps({"key": KEY, "verbs": "read"}).encode(),
    json.dumps({"key": KEY[:5]}).encode(),
    json.dumps({"key": KEY + "\n"}).encode(),
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_is_refused_without_being_quoted(content: bytes) -> None:
    with pytest.raises(BrokenKey) as refused:
        parse("ci", content)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    for part in (KEY, KEY.upper(), OTHER, KEY[:5]):
        assert part not in str(refused.value)


def test_a_caller_shows_neither_key_nor_digest() -> None:
    found = parse("ci", KEY.encode())
    assert repr(found) == "KeyCaller(name='ci')"


def test_no_other_process_finds_a_key_by_the_same_digest() -> None:
    """So how long a look-up takes says nothing to who guesses keys."""
    code = f"from anypod_gateway.callers.keys import digest_of; print(digest_of({KEY!r}).hex())"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert bytes.fromhex(other.stdout) != digest_of(KEY) == digest_of(KEY)
    assert digest_of(KEY) != digest_of(OTHER)


def test_files_come_change_and_go(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path)
    keys.read()
    assert keys.good == 0
    (tmp_path / "ci").write_text(KEY)
    keys.read()
    assert name_of(keys, KEY) == "ci"
    (tmp_path / "ci").write_text(OTHER)
    keys.read()
    assert (name_of(keys, KEY), name_of(keys, OTHER)) == (None, "ci")
    (tmp_path / "ci").unlink()
    keys.read()
    assert keys.good == 0
    assert name_of(keys, OTHER) is None


@pytest.mark.parametrize("content", BROKEN)
def test_a_file_that_breaks_leaves_what_it_said_last(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keys = ApiKeys(tmp_path)
    (tmp_path / "ci").write_bytes(narrowed(pools=["default"], verbs=["read"]))
    keys.read()
    (tmp_path / "ci").write_bytes(content)
    (tmp_path / "new").write_bytes(content)
    for _ in range(3):
        keys.read()
    found = keys.find(digest_of(KEY))
    assert may(found, "read", "default")
    assert not may(found, "run", "default")
    assert (keys.good, keys.broken) == (1, 2)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2
    assert "API key ci" in told[0]
    assert "what it was before holds" in told[0]
    assert "API key new" in told[1]
    assert "it opens nothing" in told[1]
    assert not any(part in caplog.text for part in (KEY, KEY.upper(), KEY[:5], OTHER))


def test_a_mended_file_counts_at_once_and_the_old_key_no_more(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path)
    for content in (KEY, "?", OTHER):
        (tmp_path / "ci").write_text(content)
        keys.read()
    assert (name_of(keys, KEY), name_of(keys, OTHER)) == (None, "ci")
    assert keys.broken == 0


def swap(mount: Path, number: int, files: dict[str, str]) -> None:
    """As the kubelet updates a mounted Secret."""
    folder = mount / f"..2026_{number}"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    (mount / "..data_tmp").symlink_to(folder.name)
    old = (mount / "..data").readlink() if (mount / "..data").is_symlink() else None
    (mount / "..data_tmp").rename(mount / "..data")
    for name in files:
        if not (mount / name).is_symlink():
            (mount / name).symlink_to(f"..data/{name}")
    for link in mount.iterdir():
        if not link.name.startswith("..") and link.name not in files:
            link.unlink()
    if old is not None:
        shutil.rmtree(mount / old)


def test_a_mounted_secret_is_read_again_when_kubernetes_swaps_it(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path)
    swap(tmp_path, 1, {"ci": KEY, "app": OTHER})
    keys.read()
    assert (name_of(keys, KEY), name_of(keys, OTHER)) == ("ci", "app")
    swap(tmp_path, 2, {"ci": "a-new-key-for-the-ci", "app": OTHER})
    keys.read()
    assert (name_of(keys, KEY), name_of(keys, "a-new-key-for-the-ci")) == (None, "ci")
    swap(tmp_path, 3, {"renamed": OTHER})
    keys.read()
    assert (keys.good, name_of(keys, OTHER), keys.broken) == (1, "renamed", 0)


def test_a_link_that_leads_nowhere_is_a_key_that_has_gone(tmp_path: Path) -> None:
    keys = ApiKeys(tmp_path)
    (tmp_path / "real").write_text(KEY)
    (tmp_path / "ci").symlink_to("real")
    (tmp_path / "real").unlink()
    keys.read()
    assert (keys.good, keys.broken) == (0, 0)


def test_a_directory_that_cannot_be_read_leaves_the_last_keys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "keys"
    directory.mkdir()
    (directory / "ci").write_text(KEY)
    keys = ApiKeys(directory)
    keys.read()
    directory.rename(tmp_path / "elsewhere")
    for _ in range(3):
        keys.read()
    assert name_of(keys, KEY) == "ci"
    assert caplog.text.count("cannot be read") == 1
    (tmp_path / "elsewhere").rename(directory)
    (directory / "ci").unlink()
    keys.read()
    assert keys.good == 0


def test_the_same_key_in_two_files_is_the_first_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "b").write_bytes(narrowed(verbs=["admin"]))
    (tmp_path / "a").write_bytes(narrowed(verbs=["read"]))
    keys = ApiKeys(tmp_path)
    keys.read()
    found = keys.find(digest_of(KEY))
    assert name_of(keys, KEY) == "a"
    assert not may(found, "admin", "p")
    assert "the same key as a" in caplog.text


def test_a_key_that_moves_to_another_file_while_its_own_breaks_has_the_new_rights(
    tmp_path: Path,
) -> None:
    keys = ApiKeys(tmp_path)
    (tmp_path / "a").write_bytes(narrowed())
    keys.read()
    (tmp_path / "a").write_text("?")
    (tmp_path / "b").write_bytes(narrowed(verbs=["read"]))
    keys.read()
    assert name_of(keys, KEY) == "b"
    assert not may(keys.find(digest_of(KEY)), "run", "p")


def test_what_is_no_key_file_opens_nothing_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / ".hidden").write_text(OTHER)
    (tmp_path / "bad name\n").write_text(OTHER)
    (tmp_path / "huge").write_text(OTHER * 10_000)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "ci").write_text(KEY)
    keys = ApiKeys(tmp_path)
    keys.read()
    assert (keys.good, keys.broken) == (1, 3)
    assert name_of(keys, OTHER) is None


def test_more_files_than_the_bound_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keys_module, "MAX_KEYS", 2)
    for number in range(4):
        (tmp_path / f"k{number}").write_text(f"{KEY}-{number}")
    keys = ApiKeys(tmp_path)
    keys.read()
    keys.read()
    assert keys.good == 2
    assert caplog.text.count("of more than 2 files") == 1
