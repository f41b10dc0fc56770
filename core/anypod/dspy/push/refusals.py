"""What of an object no program can say: all of it, each with its place and what to do instead."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Refusal:
    where: str
    """In the object, as Python would reach it: ``program.tools['search']``."""
    what: str
    to_do: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.to_do}" if self.to_do else "")


class CannotBeServed(ValueError):
    """The object is no program as it is; ``refusals`` say why."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("\n".join(map(str, refusals)))
        self.refusals = list(refusals)


@dataclass(slots=True)
class Refusals:
    """Collected on the way, so that one look tells all."""

    found: list[Refusal] = field(default_factory=list)

    def add(self, where: str, what: str, to_do: str = "") -> None:
        refusal = Refusal(where, what, to_do)
        if refusal not in self.found:
            self.found.append(refusal)

    def check(self) -> None:
        """Raises CannotBeServed."""
        if self.found:
            raise CannotBeServed(self.found)
