"""Calling the real kubectl, with a deadline, and with its own words when it fails."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import commands
from tests.cluster.binaries import Binaries, cache
from tests.cluster.versions import kubernetes


class KubectlError(RuntimeError):
    """kubectl said no; the message is what it printed."""


@dataclass(frozen=True)
class Kubectl:
    binary: Path
    kubeconfig: Path
    context: str | None = None

    def __call__(self, *arguments: str, input: str | None = None, timeout: float = 60) -> str:  # noqa: A002
        context = () if self.context is None else (f"--context={self.context}",)
        try:
            # A caller that is killed must leave no kubectl behind that waits for its cluster.
            done = subprocess.run(
                [*commands.ending_with_us(), self.binary, *context, *arguments],
                input=input,
                # Not the option: the user's variable may name several files.
                env=os.environ | {"KUBECONFIG": str(self.kubeconfig)},
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as expired:
            raise KubectlError(
                f"kubectl {' '.join(arguments)}: no answer in {timeout:g} s"
            ) from expired
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


def find_kubectl() -> Path | None:
    """The user's kubectl, or one that was built for a bare cluster."""
    found = shutil.which("kubectl")
    if found is not None:
        return Path(found)
    built = Binaries(cache() / kubernetes().version).path("kubectl")
    return built if built.exists() else None
