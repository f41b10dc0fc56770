"""The command line. Results go to stdout, everything else to stderr.

Commands import what they need when they run: ``anypod --help`` is quick.
"""

import sys
import time

from anypod.cli import exits


def main() -> None:
    began = time.monotonic()
    from anypod.cli.app import make_app

    try:
        make_app(began)()
    except Exception as failure:  # noqa: BLE001 - the one place where failures become exit codes
        sys.exit(exits.report(failure))
