"""``anypod``, as its users have it, but that ``up`` takes what does not answer for dead sooner.

Run as a file; for tests that wait for that.
"""

import sys
from functools import partial
from unittest.mock import patch

from anypod.cli import main, up
from anypod.local.settings import Settings, Timing

TIMING = Timing(
    probe=1.0,
    silent_probes=4,
    between=0.25,
    spawn=15.0,
    stable=0.5,
    longest_pause=2.0,
)

if __name__ == "__main__":
    with patch.object(up, "Settings", partial(Settings, timing=TIMING)):
        sys.exit(main())
