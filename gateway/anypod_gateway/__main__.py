"""``python -m anypod_gateway``."""

import gc
import sys


def main() -> int:
    # Nothing that is made while modules are imported is garbage, and to look for some takes a
    # tenth of the start. It is looked for again once the gateway runs.
    gc.disable()
    from anypod_gateway import process

    return process.main()


if __name__ == "__main__":
    sys.exit(main())
