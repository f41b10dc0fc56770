"""``python -m anypod``: the command line, where the script of the same name is not on PATH."""

import sys

from anypod.cli import main

if __name__ == "__main__":
    sys.exit(main())
