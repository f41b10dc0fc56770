"""``anypod``, as its users have it, but that the gateway of ``up`` is tests/support/
impatient_gateway.py.

Run as a file; for tests that wait until another gateway takes over.
"""

import sys
from pathlib import Path
from unittest.mock import patch

from anypod.cli import main
from anypod.local.gateway import GatewayOptions

GATEWAY = Path(__file__).with_name("impatient_gateway.py")
usual = GatewayOptions.argv


def argv(options: GatewayOptions, listen_fd: int) -> list[str]:
    command = usual(options, listen_fd)
    at = command.index("-m")
    return [*command[:at], str(GATEWAY), *command[at + 2 :]]


if __name__ == "__main__":
    with patch.object(GatewayOptions, "argv", argv):
        sys.exit(main())
