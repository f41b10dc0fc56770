"""What of a look at a pool is worth an event. Pure."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from anypod_operator.diagnosis import condition
from anypod_operator.kinds import Raw


class News(NamedTuple):
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def of_child(what: str, wanted: Raw) -> Iterator[News]:
    name = f"{wanted['kind']} {wanted['metadata']['name']}"
    if what == "restored":
        yield News("Warning", "Restored", f"{name} had been deleted and was made again")
    if what == "repaired":
        yield News("Normal", "Repaired", f"{name} had been edited and was put right")


def of_status(before: Raw, after: Raw) -> Iterator[News]:
    was, is_ = ({"status": one} for one in (before, after))
    old, new = condition(was, "Degraded"), condition(is_, "Degraded")
    if new["status"] == "True" and old.get("reason") != new["reason"]:
        yield News("Warning", new["reason"], new["message"])
    if new["status"] == "False" and old.get("status") == "True":
        yield News("Normal", "Recovered", f"{old['reason']} is over")
    old, new = condition(was, "Ready"), condition(is_, "Ready")
    if new["status"] == "True" and old.get("status") != "True":
        yield News("Normal", "Ready", new["message"])
    if new["status"] == "False" and old.get("status") == "True":
        yield News("Normal", "NotReady", new["message"])
