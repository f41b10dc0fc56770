"""What is kept of what a job printed."""

import json

import pytest

from anypod.wire.messages import Output
from anypod_gateway.jobs.ends import PRINTED_KEPT, printed_of


@pytest.mark.parametrize(
    "printed", ["short", "x" * 400_000, "\x01" * 400_000, 'é"\n' * 150_000, "\ud800" * 400_000]
)
def test_printed_text_is_cut_by_what_it_takes_in_the_store(printed: str) -> None:
    kept = printed_of(Output(printed, "y", cut_bytes=7))
    assert kept is not None
    whole = printed.encode(errors="replace").decode()
    assert whole.startswith(kept.stdout)
    assert kept.stderr == "y"
    size = len(json.dumps(kept.stdout, ensure_ascii=False).encode()) - 2
    assert size <= PRINTED_KEPT
    assert kept.stdout == whole or size > PRINTED_KEPT - 6
    assert len(kept.stdout.encode()) + kept.cut_bytes == len(whole.encode()) + 7
