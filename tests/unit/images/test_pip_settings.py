"""What of this machine's pip settings goes into a build."""

import stat
from pathlib import Path

import pytest
from tests.cluster.images import pip_settings

LISTED = """
:env:.disable-pip-version-check='1'
:env:.find-links='/opt/wheels https://wheels.example/links'
:env:.index-url='https://index.example/simple'
global.cert='/etc/ssl/certs/ca-certificates.crt'
global.index-url='https://elsewhere.example/simple'
global.trusted-host='one.example\\ntwo.example'
list.format='columns'
"""


def test_the_environment_counts_most_and_folders_stay_here() -> None:
    assert pip_settings.parse(LISTED) == {
        "index-url": "https://index.example/simple",
        "trusted-host": "one.example\ntwo.example",
        "find-links": "https://wheels.example/links",
    }


def test_the_secrets_are_marked_and_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_text("CERTIFICATE")
    monkeypatch.setenv("PIP_CERT", str(authority))
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "one.example two.example")
    folder = tmp_path / "secrets"
    folder.mkdir()
    files = pip_settings.write(folder).files
    assert files.keys() == {"pip.conf", "ca.crt"}
    for path in files.values():
        assert path.read_text().startswith(pip_settings.MARK)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = files["pip.conf"].read_text()
    assert "index-url = https://index.example/simple\n" in told
    assert f"cert = {pip_settings.CA_IN_BUILD}\n" in told
    assert str(authority) not in told


def test_without_an_authority_nothing_is_said_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    files = pip_settings.write(tmp_path).files
    assert files.keys() == {"pip.conf"}
    assert "cert" not in files["pip.conf"].read_text()
