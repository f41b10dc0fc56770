"""Calling the real kubectl, with a deadline, and with its own words when it fails."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


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
            done = subprocess.run(
                [self.binary, f"--kubeconfig={self.kubeconfig}", *context, *arguments],
                input=input,
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
