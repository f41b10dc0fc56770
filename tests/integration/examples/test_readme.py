"""The tour of the README, line by line, gives what the README shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.anypod_up import anypod_up
from tests.support.pages import ROOT, USUAL_URL, blocks, matches, steps

STARTED = ("make ", "anypod up")
"""What the test itself has done before."""
CLOCK = re.compile(r"^\d\d:\d\d:\d\d ")


@pytest.mark.timeout(240)
def test_the_tour_of_the_readme_gives_what_it_shows(tmp_path: Path) -> None:
    tour = steps("README.md", "A tour", but=STARTED)
    (_, greeting), *_ = steps("README.md", "A tour")
    assert tour
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    scripts = str(Path(sys.executable).parent)
    with anypod_up(tmp_path, "--workers", "2", workers=2) as (url, _):
        environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "ANYPOD_URL": url,
        }

        def run(*command: str) -> list[str]:
            finished = subprocess.run(
                command,
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
            )
            return finished.stdout.splitlines()

        for command, shown in tour:
            said = run("bash", "-c", command.replace(USUAL_URL, url))
            assert len(said) == len(shown), (command, said)
            for one, other in zip(shown, said, strict=True):
                assert matches(one, other), (command, one, other)
        for source in blocks("README.md", "python"):
            source = source.replace("Client()", f"Client({url!r})")
            shown = re.findall(r"print\(.*\)  # (.*)$", source, re.MULTILINE)
            assert run(sys.executable, "-c", source) == shown
    said = (tmp_path / "up.log").read_text().replace(f"{tmp_path}/", "").replace(url, USUAL_URL)
    *lines, more = greeting
    assert more == "…"
    # Into a file, the gateway and the workers say their own between these lines.
    timed = iter([CLOCK.sub("", line) for line in said.splitlines() if CLOCK.match(line)])
    for one in lines:
        assert CLOCK.match(one), one
        assert any(matches(CLOCK.sub("", one), other) for other in timed), (one, said)
