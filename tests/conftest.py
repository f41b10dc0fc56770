"""What holds for every test: the code under test never blocks an event loop."""

from collections.abc import Iterator
from functools import cache

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

# A busy machine makes an example slow, never wrong.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")

pytest_plugins = [
    "tests.cluster.pytest_options",
    "tests.parallel",
    "tests.support.at_length",
    "tests.support.figures",
    "tests.support.namespaces",
    "tests.support.time_by_folder",
]

OURS = ["anypod", "anypod_gateway", "anypod_operator", "anypod_worker"]


@cache
def blocking_calls() -> BlockBuster:
    """Those that are looked for; made once, as making it takes longer than most tests."""
    made = BlockBuster(OURS)
    for function in made.functions.values():
        # The loop there is one of a thread's own, for a client that reads its files in it.
        function.can_block_in("anypod_gateway/cluster/connection.py", "_open")
    return made


@pytest.fixture(autouse=True)
def blocking_calls_fail() -> Iterator[None]:
    """A blocking call made by our packages inside a running event loop raises BlockingError."""
    looked_for = blocking_calls()
    looked_for.activate()
    try:
        yield
    finally:
        looked_for.deactivate()
