"""One local pool has a directory, and nobody else reads its secret."""

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from anypod.api.webhooks import parse_secret
from anypod.local.directory import Directory
from anypod.local.settings import CannotStart


def test_a_directory_is_taken_once(tmp_path: Path) -> None:
    first = Directory.take(tmp_path / ".anypod")
    with pytest.raises(CannotStart, match="just starting"):
        Directory.take(tmp_path / ".anypod")
    first.announce("http://127.0.0.1:1")
    with pytest.raises(CannotStart, match=rf"pid {os.getpid()}, http://127\.0\.0\.1:1.*--dir"):
        Directory.take(tmp_path / ".anypod")
    first.release()
    Directory.take(tmp_path / ".anypod").release()


def test_what_a_killed_pool_left_does_not_matter(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "up.json").write_text(json.dumps({"pid": 1, "url": "http://x"}))
    (run / "link-token").write_text("old")
    directory = Directory.take(tmp_path)
    assert directory.new_token() not in {"", "old"}
    directory.release()


def test_the_secret_is_new_each_time_and_for_this_user_alone(tmp_path: Path) -> None:
    directory = Directory.take(tmp_path / "d")
    first = directory.new_token()
    assert len(first) >= 32
    assert directory.token_file.read_text() == first
    assert stat.S_IMODE(directory.token_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.token_file.parent.stat().st_mode) == 0o700
    assert directory.new_token() != first
    directory.release()
    assert not directory.token_file.exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match=r"file.* cannot be used: Not a directory"):
        Directory.take(tmp_path / "file" / "x")


DIES_AS_IT_WRITES = """
import resource, signal, sys
from pathlib import Path
from anypod.local.directory import Directory
directory = Directory.take(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
    resource.setrlimit(limit, (0, 0))
directory.keep_webhook_secrets(["one"])
"""


def test_a_secret_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIES_AS_IT_WRITES, str(tmp_path)]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGXFSZ
    file = tmp_path / "webhook-secrets" / "one"
    assert not file.exists()
    directory = Directory.take(tmp_path)
    directory.keep_webhook_secrets(["one"])
    parse_secret(file.read_text().strip())
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_that_was_there_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("build/\n")
    (tmp_path / "run").mkdir(mode=0o755)
    Directory.take(tmp_path).release()
    assert (tmp_path / ".gitignore").read_text() == "build/\n"
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755


def test_git_ignores_a_folder_that_was_made_for_a_pool(tmp_path: Path) -> None:
    Directory.take(tmp_path / ".anypod").release()
    assert (tmp_path / ".anypod" / ".gitignore").read_text() == "*\n"


def test_a_store_that_cannot_be_written_is_said_and_the_directory_is_free_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "store.db").symlink_to(tmp_path / "store.db")
    with pytest.raises(CannotStart, match="cannot be used: Too many levels of symbolic links"):
        Directory.take(tmp_path)
    (tmp_path / "store.db").unlink()
    Directory.take(tmp_path).release()


def test_secrets_that_cannot_be_kept_are_said(tmp_path: Path) -> None:
    directory = Directory.take(tmp_path / ".anypod")
    directory.webhook_secrets.write_text("")
    with pytest.raises(CannotStart, match="webhook-secrets cannot be used: File exists"):
        directory.keep_webhook_secrets(["one"])
    directory.release()


def test_a_link_secret_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    directory = Directory.take(tmp_path)
    (tmp_path / "run" / ".link-token.tmp").mkdir()
    with pytest.raises(CannotStart, match="link-token cannot be used: Is a directory"):
        directory.new_token()
    directory.release()


def test_a_full_disk_does_not_keep_a_pool_from_saying_where_it_is(tmp_path: Path) -> None:
    directory = Directory.take(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        directory.announce("http://127.0.0.1:1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(CannotStart, match="just starting"):
        Directory.take(tmp_path)
    directory.release()


def test_what_cannot_be_removed_at_the_end_does_not_keep_the_directory(tmp_path: Path) -> None:
    directory = Directory.take(tmp_path)
    directory.token_file.mkdir()
    directory.pools_file.mkdir()
    directory.release()
    Directory.take(tmp_path).release()


def test_each_pool_has_a_webhook_secret_that_stays_and_is_private(tmp_path: Path) -> None:
    directory = Directory.take(tmp_path / ".anypod")
    directory.keep_webhook_secrets(["one"])
    file = directory.webhook_secrets / "one"
    made = file.read_text()
    parse_secret(made.strip())
    assert file.stat().st_mode & 0o777 == 0o600
    directory.keep_webhook_secrets(["one", "two"])
    assert file.read_text() == made
    assert (directory.webhook_secrets / "two").read_text() != made
    directory.release()
