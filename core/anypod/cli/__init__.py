"""The command line. Results go to stdout, everything else to stderr.

Commands import what they need when they run: ``anypod --help`` is quick.
"""

import gc
import sys
import time

from anypod.cli import exits, streams

_GC_THRESHOLD = 50_000
"""More than a command makes while it imports: none of that is garbage, and to look for some would
be a tenth of what a short command takes."""


def main() -> int:
    """The exit code, or SystemExit with it."""
    began = time.monotonic()
    gc.set_threshold(_GC_THRESHOLD)
    from anypod.cli.app import make_app

    results = streams.take_over()
    try:
        try:
            make_app(began)()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:  # while what is left of the results waits for its reader
        results.drop()
        return exits.INTERRUPTED
    except Exception as failure:  # noqa: BLE001 - the one place where failures become exit codes
        return exits.report(failure)
    return 0
