"""The reference of the command line, ``docs/command-line.md``, made of the commands.

``python -m anypod.cli.reference``, in the repository's root, writes it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from anypod.cli.app import make_app
from anypod.cli.exits import EXPLAINED

PATH = Path("docs/command-line.md")
_COMMON = ("--pool", "--url", "--api-key-file")
_ELSEWHERE = "up"
_HEAD = """\
# Command line

Made of the commands themselves (`make reference`); `anypod COMMAND --help` says the same.
`anypod up` is among the [configuration](configuration.md#anypod-up).

Every command below takes `--pool`, `--url` and `--api-key-file`, or `ANYPOD_POOL`, `ANYPOD_URL` and
`ANYPOD_API_KEY_FILE`. Results are on stdout, and all else on stderr.

`anypod --install-completion` teaches the shell to complete commands, options, and the names of
programs, sessions, jobs, workers and pools, for which it asks the gateway.

With `-o json` results are JSON, and so is why there are none: what the gateway says is a line on
stderr with its [problem document](http-api.md#errors). A stream says it on stdout too, as its last
event. What no gateway said, as that none was reached, stays a text.

What programs wrote can do nothing to a terminal: there, and in what is said on stderr, control
characters are shown as �. To a file or a pipe, outputs that are text go as they are.

No command deletes a worker: a pool has as many as its `replicas` say, and whoever takes one away
gets another. On Kubernetes, `kubectl delete pod WORKER` drains it and replaces it.
"""


def page() -> str:
    root = get_command(make_app(0.0))
    return "\n".join([_HEAD, EXPLAINED, *_commands(root)]) + "\n"


def _commands(root: Any) -> Iterator[str]:
    for name, command in root.commands.items():
        if name == _ELSEWHERE:
            continue
        yield f"\n## anypod {name}\n"
        yield _text(command.help)
        if hasattr(command, "commands"):
            yield from _verbs(name, command.commands)
        else:
            yield from _parameters(command)


def _verbs(group: str, verbs: dict[str, Any]) -> Iterator[str]:
    yield "\n| command | option | meaning |\n| --- | --- | --- |"
    for verb, command in verbs.items():
        arguments = [each.metavar for each in command.params if not _is_option(each)]
        usage = " ".join(["anypod", group, verb, *arguments])
        yield f"| `{usage}` | | {_text(command.help)} |"
        yield from (f"| | {_name(each)} | {_text(each.help)} |" for each in _options(command))


def _parameters(command: Any) -> Iterator[str]:
    yield "\n| argument or option | meaning |\n| --- | --- |"
    arguments = [each for each in command.params if not _is_option(each)]
    for each in (*arguments, *_options(command)):
        yield f"| {_name(each)} | {_text(each.help)} |"


def _options(command: Any) -> list[Any]:
    return [each for each in command.params if _is_option(each) and each.opts[0] not in _COMMON]


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _name(parameter: Any) -> str:
    if not _is_option(parameter):
        return f"`{parameter.metavar}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    long, *short = parameter.opts
    return ", ".join([f"`{long}{value}`", *(f"`{each}`" for each in short)])


def _text(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    if not Path("pyproject.toml").exists():
        sys.exit("run this in the root of the repository")
    PATH.write_text(page())
    sys.stdout.write(f"{PATH}\n")


if __name__ == "__main__":
    main()
