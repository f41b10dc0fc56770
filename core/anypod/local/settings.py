"""What ``anypod up`` is told, and how patient it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


class CannotStart(Exception):
    """Why there is no local pool, and what to do, for the person who asked."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. Silence is counted in probes, so a stall of the launcher is not taken for one of
    a worker."""

    probe: float = 2.0
    """For one answer."""
    silent_probes: int = 5
    """Without an answer before a process is taken for wedged, and killed."""
    first_answer: float = 60.0
    """For a process that has just begun."""
    between: float = 0.5
    between_starting: float = 0.05
    spawn: float = 60.0
    """For the nursery to fork a worker, and before the first one to import what all preload."""
    stable: float = 30.0
    """A process that was well for this long is started again at once when it dies."""
    first_pause: float = 0.5
    longest_pause: float = 30.0
    stop_slack: float = 5.0
    """Beyond the drain time, before what has not ended is killed."""


@dataclass(frozen=True, slots=True)
class Settings:
    manifest: Path | None = None
    workers: int | None = None
    executors: int | None = None
    preload: tuple[str, ...] | None = None
    store: str | None = None
    """None for SQLite in the directory."""
    host: str = "127.0.0.1"
    port: int = 8700
    directory: Path = Path(".anypod")
    log_format: Literal["text", "json"] = "text"
    timing: Timing = Timing()
