"""A worker's processes get what the pool declares and four names of the host, nothing else."""

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
