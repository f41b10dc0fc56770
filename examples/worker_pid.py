"""Which process would have to die? The worker's, of which an executor is a child."""

import os


def main() -> int:
    """The process id of the worker that runs this, as seen from inside its container."""
    return os.getppid()
