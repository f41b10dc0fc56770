"""``python -m tests.cluster``: the cluster of `make cluster`, for people and scripts."""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.cluster import bare, images, kind, providers, slots
from tests.cluster.addresses import SLOTS, Addresses
from tests.cluster.interface import Cluster
from tests.cluster.kind import KindOptions
from tests.cluster.kubectl import find_kubectl
from tests.cluster.providers import PROVIDERS, Wishes


def main() -> None:
    options = _parser().parse_args()
    try:
        options.verb(options)
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as refused:
        nothing = isinstance(refused, providers.NoCluster | images.CannotBuild)
        sys.exit(f"error: {refused}{'' if nothing else _advice(options)}")
    except KeyboardInterrupt:
        sys.exit(f"interrupted{_advice(options)}")


def _advice(options: argparse.Namespace) -> str:
    if options.verb is _up and options.cluster != "existing":
        return f"\nwhat was started stays, for a look; {_ending(options)} ends it"
    if options.verb is _down:
        return f"\nsomething may be left; once more: {_ending(options)}"
    return ""


def _ending(options: argparse.Namespace) -> str:
    which = f"--cluster {options.cluster} --slot {options.slot}"
    return f"{shlex.quote(sys.executable)} -m tests.cluster down {which}"


def _up(options: argparse.Namespace) -> None:
    if options.slot not in slots.OF_PEOPLE and not options.of_a_run:
        sys.exit(
            f"error: slot {options.slot} is for runs of tests, which end what they find in it: "
            f"take {' or '.join(map(str, slots.OF_PEOPLE))}"
        )
    began = time.monotonic()
    reason = providers.why_none(options.cluster)
    if reason is not None:
        raise providers.NoCluster(reason)
    # Whoever has a cluster already says by other ways what is on it.
    wanted = options.images and options.cluster != "existing"
    archives = images.archives() if wanted else []
    cluster = providers.fulfil(replace(_wishes(options), archives=archives))
    version = json.loads(cluster.kubectl("version", "--output=json"))["serverVersion"]
    cluster.kubectl(
        "wait", "nodes", "--all", "--for=condition=Ready", "--timeout=120s", timeout=130
    )
    nodes = f"{len(cluster.nodes())} nodes of Kubernetes {version['gitVersion']}"
    have = "have the project's images and " if archives else ""
    seconds = time.monotonic() - began
    print(f"{cluster.provider}: {nodes} {have}are Ready after {seconds:.1f} s")
    print("use it with:")
    if options.cluster == "existing":
        print(f"kubectl --context {shlex.quote(options.context)}")
        return
    print(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    programs = _programs(cluster)
    if programs is not None:
        print(f'export PATH={shlex.quote(str(programs))}:"$PATH"')
    if options.kind_name is None:
        print(f"end it with:\n{_ending(options)}")


def _programs(cluster: Cluster) -> Path | None:
    """The folder of what a user may lack: a bare cluster's programs, or the kubectl of one."""
    if isinstance(cluster, bare.BareCluster):
        return cluster.bin
    kubectl = find_kubectl()
    return kubectl.parent if kubectl is not None and shutil.which("kubectl") is None else None


def _prepare(options: argparse.Namespace) -> None:
    """Tests would build it as well, but nobody would see what they wait for."""
    reason = providers.prepare(options.cluster)
    if reason is not None:
        print(f"tests that need a cluster, or its API, are skipped: {reason}")
        return
    try:
        archives = images.archives()
    except images.CannotBuild as cannot:
        print(f"tests that need the project's images are skipped: {cannot}")
    else:
        providers.prepare(options.cluster, archives)


def _load(options: argparse.Namespace) -> None:
    _running(options).load(options.archive)


def _kubeconfig(options: argparse.Namespace) -> None:
    if options.cluster == "existing":
        raise ValueError("the kubeconfig of an existing cluster is your own")
    print(_running(options).kubeconfig)


def _node(options: argparse.Namespace) -> None:
    faults = _running(options).faults
    act = {
        "stop": faults.stop_node,
        "start": faults.start_node,
        "isolate": faults.isolate_node,
        "heal": faults.heal_node,
    }
    act[options.what](options.node)


def _down(options: argparse.Namespace) -> None:
    """Also what killed runs of tests have left: no other run may ever come and end it."""
    ours = kind.name_of(options.slot)
    if options.cluster in ("auto", "kind") and kind.why_no_kind() is None:
        if kind.running(ours) is not None:
            kind.end(ours)
        kind.end_abandoned()
    if options.cluster in ("auto", "bare"):
        bare.end(Addresses(options.slot))
        bare.end_abandoned()


def _running(options: argparse.Namespace) -> Cluster:
    """The cluster that is up, which is never made here."""
    if options.cluster == "existing":
        return providers.fulfil(_wishes(options))
    found: Cluster | None = None
    if options.cluster in ("auto", "kind"):
        found = kind.running(kind.name_of(options.slot))
    if found is None and options.cluster in ("auto", "bare"):
        found = bare.running(Addresses(options.slot))
    if found is None:
        raise RuntimeError("no cluster is up: make cluster")
    return found


def _wishes(options: argparse.Namespace) -> Wishes:
    return Wishes(
        provider=options.cluster,
        nodes=getattr(options, "nodes", 2),
        keep=True,
        slot=options.slot,
        kind=KindOptions(
            getattr(options, "kind_name", None),
            getattr(options, "kind_node_image", None),
            getattr(options, "kind_config", None),
        ),
        context=options.context,
    )


def _parser() -> argparse.ArgumentParser:
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("--cluster", choices=PROVIDERS, default="auto", help="who provides it")
    which.add_argument("--context", help="existing: the context of the kubeconfig")
    which.add_argument(
        "--slot", type=int, choices=range(SLOTS), default=slots.USER, help="which of several"
    )
    # Of `up`. `down` takes them too, so that the arguments that made a cluster end it.
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--nodes", type=int, default=2)
    made.add_argument(
        "--without-images", dest="images", action="store_false", help="load none of the project's"
    )
    made.add_argument("--kind-node-image", metavar="IMAGE")
    made.add_argument("--kind-config", type=Path, metavar="FILE")
    made.add_argument("--kind-name", metavar="NAME", help="a kind cluster that is there already")
    made.add_argument(
        "--of-a-run", action="store_true", help="the slot is held by the run of tests that says so"
    )
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    up = verbs.add_parser("up", parents=[which, made], help="start one, with the project's images")
    up.set_defaults(verb=_up)

    prepare = verbs.add_parser(
        "prepare", parents=[which], help="build what tests need, where it can be had: minutes, once"
    )
    prepare.set_defaults(verb=_prepare)

    load = verbs.add_parser("load", parents=[which], help="put OCI archives onto every node")
    load.set_defaults(verb=_load)
    load.add_argument("archive", type=Path, nargs="+")

    kubeconfig = verbs.add_parser("kubeconfig", parents=[which], help="print its path")
    kubeconfig.set_defaults(verb=_kubeconfig)

    node = verbs.add_parser("node", parents=[which], help="a fault of a node, or its end")
    node.set_defaults(verb=_node)
    node.add_argument("node")
    node.add_argument("what", choices=["stop", "start", "isolate", "heal"])

    down = verbs.add_parser("down", parents=[which, made], help="end it, and leave nothing behind")
    down.set_defaults(verb=_down)
    return parser


if __name__ == "__main__":
    main()
