"""A worker's processes get what the pool declares and four names of the host, nothing else."""

import pytest

from anypod_worker import __main__ as entry
from anypod_worker import environment

HOST = {
    "PATH": "/bin",
    "HOME": "/home/u",
    "TMPDIR": "/scratch",
    "LANG": "de_DE.UTF-8",
    "AWS_SECRET_ACCESS_KEY": "x",
    "PYTHONPATH": "/evil",
    "ANYPOD_WORKER_CONFIG": "{}",
}


def test_only_four_names_of_the_host_stay() -> None:
    assert environment.clean(HOST, {}) == {
        "PATH": "/bin",
        "HOME": "/home/u",
        "TMPDIR": "/scratch",
        "LANG": "de_DE.UTF-8",
    }


def test_the_pool_may_add_and_replace() -> None:
    clean = environment.clean(HOST, {"PYTHONPATH": "/app", "HOME": "/srv"})
    assert clean["PYTHONPATH"] == "/app"
    assert clean["HOME"] == "/srv"


def test_what_must_be_there_is_there() -> None:
    assert set(environment.clean({}, {})) == {"PATH", "HOME", "LANG"}


def test_of_a_containers_environment_programs_get_all_but_what_is_not_theirs() -> None:
    host = {
        "DATABASE": "db",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "KUBERNETES_PORT_443_TCP_ADDR": "10.0.0.1",
        "KUBERNETES_TEAM": "a",
        "ANYPOD_WORKER_NAME": "w",
        "ANYPOD_LINK_TOKEN": "secret",
        "ANYPOD_URL": "http://gateway",
    }
    assert environment.of_container(host) == {
        "DATABASE": "db",
        "KUBERNETES_TEAM": "a",
        "ANYPOD_URL": "http://gateway",
    }


def test_keys_of_lms_are_found_and_their_variables_taken_away() -> None:
    host = {
        "ANYPOD_WORKER_LM_0": "fast=ANYPOD_LINK_LM_KEY_0",
        "ANYPOD_LINK_LM_KEY_0": "key-0",
        "ANYPOD_WORKER_LM_1": "slow=OPENAI_API_KEY",
        "OPENAI_API_KEY": "key-1",
        "PATH": "/bin",
    }
    keys, hidden = environment.lm_keys(host)
    assert keys == {"fast": "key-0", "slow": "key-1"}
    assert hidden == {"ANYPOD_LINK_LM_KEY_0", "OPENAI_API_KEY"}


@pytest.mark.parametrize("host", [{}, {"MY_KEY": ""}, {"MY_KEY": " \n"}])
def test_without_a_key_that_it_is_to_have_a_worker_does_not_begin(host: dict[str, str]) -> None:
    """Its provider would refuse every run, and say that the key is wrong."""
    with pytest.raises(environment.NoKey, match=r"LM 'fast' is missing: .* variable MY_KEY"):
        environment.lm_keys({**host, "ANYPOD_WORKER_LM_0": "fast=MY_KEY"})


def test_a_secret_that_holds_no_key_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYPOD_WORKER_CONFIG", "{}")
    monkeypatch.setenv("ANYPOD_WORKER_LM_0", "fast=ANYPOD_LINK_LM_KEY_0")
    monkeypatch.setenv("ANYPOD_LINK_LM_KEY_0", "")
    monkeypatch.setattr("sys.argv", ["anypod_worker"])
    monkeypatch.setattr("os.execve", lambda *_: None)
    with pytest.raises(SystemExit, match="nothing in the key of its Secret"):
        entry.main()


@pytest.mark.parametrize("key", ["two words", 'a"b-c-d-e-f', "a\\b-c-d-e-f", "schlüssel"])
def test_a_key_that_cannot_be_hidden_ends_the_worker_and_is_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANYPOD_WORKER_CONFIG", "{}")
    monkeypatch.setenv("ANYPOD_WORKER_LM_0", "fast=OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setattr("sys.argv", ["anypod_worker"])
    monkeypatch.setattr("os.execve", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert "key of LM 'fast' is none" in str(ended.value)
    assert key not in str(ended.value)
