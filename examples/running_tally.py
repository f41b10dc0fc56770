"""A tally that a session keeps: `session.state` is stored, and outlives the session's worker."""

from anypod import session


def main(name: str, amount: float = 1) -> dict[str, float]:
    """Add to one of the session's sums; all of them."""
    tally = session.state.setdefault("tally", {})
    tally[name] = tally.get(name, 0) + amount
    return dict(tally)
