"""``python -m anypod_worker --config-file F --token-file F``: one worker.

In a pod it is told everything by its environment (``anypod.wire.pod``), the link's secret too.

Stage 0, with the host's environment, only executes the interpreter anew with the pool's
(``anypod_worker.environment``). The configuration goes along as an anonymous file, and the secret
as another, which the zygote closes; or the path of the secret's file as an argument.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from anypod.wire import pod
from anypod_worker import environment


def main() -> int:
    arguments = _parse(sys.argv[1:])
    if arguments.config_fd is None:
        _execute_anew(arguments)
    return _run(arguments)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m anypod_worker", description="One worker.")
    parser.add_argument(
        "--config-file", type=Path, help=f"JSON; else the environment's {pod.CONFIG}"
    )
    parser.add_argument(
        "--token-file", type=Path, help=f"the link's secret; else the environment's {pod.TOKEN}"
    )
    parser.add_argument("--config-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--token-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--keys-fd", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _execute_anew(arguments: argparse.Namespace) -> None:
    content = _configuration(arguments.config_file)
    try:
        config = json.loads(content)
        declared = dict(config.get("env", {}))
    except (ValueError, TypeError, AttributeError) as error:
        sys.exit(f"the worker's configuration is not a JSON object: {error}")
    if pod.NAME in os.environ:
        config["worker"] = os.environ[pod.NAME]
    try:
        keys, hidden = environment.lm_keys(os.environ)
    except environment.NoKey as error:
        sys.exit(str(error))
    if config.get("containerEnv"):
        declared = {**environment.of_container(os.environ), **declared}
    declared = {name: value for name, value in declared.items() if name not in hidden}
    argv = [sys.executable, "-P", "-m", "anypod_worker"]
    argv += ["--config-fd", _anonymous("config", json.dumps(config).encode())]
    argv += _token_arguments(arguments.token_file)
    argv += ["--keys-fd", _anonymous("keys", json.dumps(keys).encode())]
    os.execve(sys.executable, argv, environment.clean(os.environ, declared))  # noqa: S606


def _token_arguments(file: Path | None) -> list[str]:
    if file is not None:
        return ["--token-file", str(file.absolute())]
    if pod.TOKEN not in os.environ:
        sys.exit(f"give --token-file, or {pod.TOKEN} in the environment")
    return ["--token-fd", _anonymous("token", os.environ[pod.TOKEN].encode())]


def _anonymous(name: str, content: bytes) -> str:
    """The number of an open file that has no path and outlives the execution."""
    descriptor = os.memfd_create(f"anypod-worker-{name}", 0)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return str(descriptor)


def _configuration(file: Path | None) -> bytes:
    if file is None:
        if pod.CONFIG not in os.environ:
            sys.exit(f"give --config-file, or {pod.CONFIG} in the environment")
        return os.environ[pod.CONFIG].encode()
    try:
        return file.read_bytes()
    except OSError as error:
        sys.exit(f"the worker's configuration cannot be read: {error}")


def _run(arguments: argparse.Namespace) -> int:
    import msgspec

    from anypod.wire.config import WorkerConfig
    from anypod_worker import boot

    with os.fdopen(arguments.config_fd, "rb") as file:
        try:
            config = msgspec.json.decode(file.read(), type=WorkerConfig)
        except msgspec.DecodeError as error:
            sys.exit(f"the worker's configuration is not valid: {error}")

    def learn() -> boot.Told:
        return boot.Told(config=config, token=_token(arguments), lm_keys=_lm_keys(arguments))

    secret = (arguments.token_fd, arguments.keys_fd)
    inherited = [descriptor for descriptor in secret if descriptor is not None]
    return boot.run(learn, inherited=inherited)


def _lm_keys(arguments: argparse.Namespace) -> dict[str, str]:
    if arguments.keys_fd is None:
        return {}
    with os.fdopen(arguments.keys_fd, "rb") as file:
        keys: dict[str, str] = json.loads(file.read())
    return keys


def _token(arguments: argparse.Namespace) -> bytes:
    try:
        if arguments.token_fd is not None:
            with os.fdopen(arguments.token_fd, "rb") as file:
                token = file.read().strip()
        else:
            token = arguments.token_file.read_bytes().strip()
    except OSError as error:
        sys.exit(f"the link's secret cannot be read: {error}")
    if not token:
        sys.exit("the link's secret is empty")
    return bytes(token)


if __name__ == "__main__":
    sys.exit(main())
