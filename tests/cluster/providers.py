"""Which provider a cluster comes from, and what can be wished of it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.cluster import bare, control_plane, existing, kind, slots
from tests.cluster.addresses import Addresses
from tests.cluster.binaries import HELM, kubernetes_binaries, tool_binary
from tests.cluster.commands import CommandFailed
from tests.cluster.interface import Cluster, ImageNames
from tests.cluster.kind import KindOptions
from tests.cluster.versions import kubernetes

Provider = Literal["auto", "kind", "bare", "existing"]
PROVIDERS: tuple[Provider, ...] = ("auto", "kind", "bare", "existing")


@dataclass(frozen=True)
class Wishes:
    """Everything that can be said about a cluster, by options or in code."""

    provider: Provider = "auto"
    nodes: int = 2
    keep: bool = False
    """Use one that is up, and leave it up."""
    slot: int | None = None
    """None: one that no other run of tests has, or that of clusters that are kept."""
    kind: KindOptions = field(default_factory=KindOptions)
    context: str | None = None
    archives: Sequence[Path] = ()
    """The images that every node has to have."""
    images: ImageNames | None = None
    """Existing: what it calls them, if it has them or knows where to pull them from."""


class NoCluster(RuntimeError):
    """No provider can make a cluster here. The message says why, of each."""


def up(
    provider: Provider = "auto",
    nodes: int = 2,
    keep: bool = False,
    *,
    slot: int | None = None,
    kind: KindOptions | None = None,
    context: str | None = None,
    archives: Sequence[Path] = (),
) -> Cluster:
    """A cluster that is ready for pods: a new one, unless ``keep`` finds one that is up."""
    return fulfil(Wishes(provider, nodes, keep, slot, kind or KindOptions(), context, archives))


def fulfil(wishes: Wishes) -> Cluster:
    chosen = _choose(wishes)
    if chosen == "existing":
        there = existing.use(wishes.context, wishes.images)
        there.load(wishes.archives)
        return there
    if wishes.slot is None:
        bare.end_abandoned() if chosen == "bare" else kind.end_abandoned()
    slot = _slot(wishes)
    try:
        return _start(chosen, wishes, slot)
    except BaseException as failure:
        # Nobody else would end what is a run's own, and it would keep the machine busy.
        if not wishes.keep:
            _end(chosen, wishes, slot, failure)
        slots.give_back(slot)
        raise


def _end(chosen: Provider, wishes: Wishes, slot: int, failure: BaseException) -> None:
    """What a failed start has left. What goes wrong here is no more than a note on that."""
    if chosen == "bare":
        failure.add_note(bare.last_words(Addresses(slot)))
        bare.end(Addresses(slot))
    elif wishes.kind.name is None:
        try:
            kind.end(kind.name_of(slot))
        except (CommandFailed, OSError, RuntimeError) as left:
            failure.add_note(f"something of it may be left: {left}")


def _start(chosen: Provider, wishes: Wishes, slot: int) -> Cluster:
    if chosen == "kind":
        cluster = kind.start(wishes.kind, slot, wishes.nodes, keep=wishes.keep)
        cluster.load(wishes.archives)
        return cluster
    return bare.start(
        Addresses(slot),
        kubernetes(),
        wishes.nodes,
        keep=wishes.keep,
        archives=wishes.archives,
    )


def prepare(provider: Provider = "auto", archives: Sequence[Path] = ()) -> str | None:
    """Have all that a start takes, and the programs of an API server; or say why it cannot be.

    Whatever the cluster is, tests of the chart need helm: where none is on PATH, Go builds it.
    """
    if shutil.which("helm") is None and shutil.which("go"):
        tool_binary(HELM)
    reason = why_none(provider)
    if reason is None and _choose(Wishes(provider)) == "bare":
        bare.prepare(kubernetes(), archives)
    elif reason is None and control_plane.why_no_api_server() is None:
        kubernetes_binaries(kubernetes())
    return reason


def _slot(wishes: Wishes) -> int:
    if wishes.slot is not None:
        return wishes.slot
    return slots.KEPT if wishes.keep else slots.take()


def why_none(provider: Provider = "auto") -> str | None:
    """Why no cluster can be had here, or None; what `auto` would take decides."""
    reasons = {}
    if provider in ("auto", "kind"):
        reasons["kind"] = kind.why_no_kind()
    if provider in ("auto", "bare"):
        reasons["bare"] = bare.why_no_bare(kubernetes())
    if not reasons or None in reasons.values():
        return None
    return "no cluster: " + "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _choose(wishes: Wishes) -> Provider:
    reason = why_none(wishes.provider)
    if reason is not None:
        raise NoCluster(reason)
    if wishes.provider != "auto":
        return wishes.provider
    named = wishes.kind != KindOptions()
    return "kind" if named or kind.why_no_kind() is None else "bare"
