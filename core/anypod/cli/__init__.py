"""The command line. Results go to stdout, everything else to stderr.

Commands import what they need when they run: ``anypod --help`` is quick.
"""

import time

from anypod.cli import exits


def main() -> int:
    """The exit code, or SystemExit with it."""
    began = time.monotonic()
    from anypod.cli.app import make_app

    try:
        make_app(began)()
    except Exception as failure:  # noqa: BLE001 - the one place where failures become exit codes
        return exits.report(failure)
    return 0
