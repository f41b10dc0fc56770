"""What gateways show to a pool's workers: derived from one key that operator and gateways share.

So a gateway needs no right to read Secrets, a pool's token cannot be lost or differ, and a worker
that gives its own away tells nothing of another pool's.
"""

import hashlib
import hmac


def derive(key: str, namespace: str, pool: str) -> str:
    """64 hexadecimal digits: HMAC-SHA256 of ``namespace/pool``."""
    return hmac.new(key.encode(), f"{namespace}/{pool}".encode(), hashlib.sha256).hexdigest()


def mark(token: str) -> str:
    """Another one for another token, from which the token cannot be had; 16 digits."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]
