"""What an execution may change in its process, and how that is put back."""


def prepare() -> None:
    """Once after the fork of an executor: its own random numbers, std streams, ``__main__``."""
    raise NotImplementedError


class Baseline:
    """How the process was before any program ran in it."""

    @classmethod
    def capture(cls) -> "Baseline":
        raise NotImplementedError

    def restore(self) -> bool:
        """After an execution in a shared executor; False if the process cannot be made clean."""
        raise NotImplementedError

    def restore_session(self) -> bool:
        """After an execution of a session: only signals, fds 0-2 and the std streams."""
        raise NotImplementedError
