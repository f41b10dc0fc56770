"""What has to be said together about etcd's security, and that a secret is not shown."""

from pathlib import Path

import pytest

from anypod.store.etcd_security import EtcdSecurity
from anypod.store.open import open_store

FILE = Path("/somewhere/file")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cert": FILE, "ca": FILE}, "needs its key"),
        ({"key": FILE, "ca": FILE}, "needs its key"),
        ({"cert": FILE, "key": FILE}, "only with --etcd-ca"),
        ({"server_name": "x"}, "only with --etcd-ca"),
        ({"user": "x"}, "a file with the password"),
        ({"password_file": FILE}, "a file with the password"),
    ],
)
def test_halves_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EtcdSecurity(**given)  # type: ignore[arg-type]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing-here"):
        EtcdSecurity(ca=tmp_path / "nothing-here").check()
    EtcdSecurity().check()


def test_a_private_key_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("very secret")
    security = EtcdSecurity(ca=tmp_path / "key", cert=tmp_path / "key", key=tmp_path / "key")
    read = security.read()
    assert read.key == b"very secret"
    assert repr(read).count("very secret") == 2  # as a certificate, which is none


def test_sqlite_has_no_certificates() -> None:
    with pytest.raises(ValueError, match="are for etcd"):
        open_store("sqlite:x", security=EtcdSecurity(ca=FILE))
