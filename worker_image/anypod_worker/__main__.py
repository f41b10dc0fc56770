"""``python -m anypod_worker --config-file F --token-file F``: one worker.

Stage 0, with the host's environment, only executes the interpreter anew with the pool's
(``anypod_worker.environment``). The configuration goes along as an anonymous file, the token's path
as an argument.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from anypod_worker import environment

CONFIG_VARIABLE = "ANYPOD_WORKER_CONFIG"


def main() -> int:
    arguments = _parse(sys.argv[1:])
    if arguments.config_fd is None:
        _execute_anew(arguments)
    return _run(arguments)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m anypod_worker", description="One worker.")
    parser.add_argument(
        "--config-file", type=Path, help=f"JSON; else the environment's {CONFIG_VARIABLE}"
    )
    parser.add_argument("--token-file", type=Path, required=True, help="the link's secret")
    parser.add_argument("--config-fd", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _execute_anew(arguments: argparse.Namespace) -> None:
    content = _configuration(arguments.config_file)
    try:
        declared = json.loads(content).get("env", {})
    except (ValueError, AttributeError) as error:
        sys.exit(f"the worker's configuration is not a JSON object: {error}")
    descriptor = os.memfd_create("anypod-worker-config", 0)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    argv = [sys.executable, "-P", "-m", "anypod_worker", "--config-fd", str(descriptor)]
    argv += ["--token-file", str(arguments.token_file.absolute())]
    os.execve(sys.executable, argv, environment.clean(os.environ, declared))  # noqa: S606


def _configuration(file: Path | None) -> bytes:
    if file is None:
        if CONFIG_VARIABLE not in os.environ:
            sys.exit(f"give --config-file, or {CONFIG_VARIABLE} in the environment")
        return os.environ[CONFIG_VARIABLE].encode()
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
        try:
            token = arguments.token_file.read_bytes().strip()
        except OSError as error:
            sys.exit(f"the link's secret cannot be read: {error}")
        if not token:
            sys.exit(f"the link's secret is empty: {arguments.token_file}")
        return boot.Told(config=config, token=token)

    return boot.run(learn, inherited=[])


if __name__ == "__main__":
    sys.exit(main())
