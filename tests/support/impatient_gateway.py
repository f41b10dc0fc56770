"""A gateway, as all have it, but that its leases are short, and that it waits less for a worker
that does not answer: others take over sooner what it had when it died.

Run as a file or, in a process of its own, called; for tests that wait for that. Workers are as
patient as ever, so it is not for gateways that are frozen or cut off, whose workers have to notice
that before the lease ends (tests/integration/gateway_jobs/test_frozen.py).
"""

import sys

from anypod.store import once as owners
from anypod_gateway import once, process
from anypod_gateway.jobs import lease, queue, work

CLAIM_SECONDS = 8.0
"""No claim of a job holds longer than that without a renewal, nor does an owner of keyed runs."""

SHORTER = (
    (lease, "HOLD_SECONDS", 5.0),
    (lease, "SILENCE_SECONDS", 1.0),
    (work, "SILENCE_SECONDS", 1.0),
    (queue, "RENEW_SECONDS", 1.0),
    (owners, "OWNER_SECONDS", 6.0),
    (once, "RENEW_SECONDS", 1.0),
)


def main() -> int:
    for module, name, seconds in SHORTER:
        assert getattr(module, name) > seconds
        setattr(module, name, seconds)
    return process.main()


if __name__ == "__main__":
    sys.exit(main())
