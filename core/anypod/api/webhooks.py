"""How a job's caller is told of its end: what is asked for, and how what is sent is signed.

A request names the address in a header, for an address may hold a secret and headers stand in
fewer logs than queries do. What is sent has the form of Standard Webhooks.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Literal
from urllib.parse import urlsplit

HEADER = "Webhook-URL"
LONGEST_URL = 2048
SECRET_PREFIX = "whsec_"  # noqa: S105 - what all begin with
_SECRET_BYTES = range(24, 65)

DeliveryState = Literal["waiting", "pending", "delivered", "failed"]


class BadUrl(ValueError):
    """No address that could be called; the message says why, and has nothing of it."""


class BadSecret(ValueError):
    """No secret to sign with; the message has nothing of it."""


def check_url(text: str) -> str:
    """The same text. Raises BadUrl."""
    if not 0 < len(text) <= LONGEST_URL or not text.isascii() or not text.isprintable():
        raise BadUrl(f"it must have 1 to {LONGEST_URL} printable ASCII characters")
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises for what is no port
    except ValueError:
        raise BadUrl("it is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in text:
        raise BadUrl("it must be such as https://example.com/ended")
    if parts.username is not None or parts.password is not None:
        raise BadUrl("it must have no user and no password in it")
    return text


def origin_of(url: str) -> str:
    """What may be shown of it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def parse_secret(text: str) -> bytes:
    """The key of ``whsec_…``. Raises BadSecret."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(SECRET_PREFIX) or len(key) not in _SECRET_BYTES:
        raise BadSecret(f"a secret is {SECRET_PREFIX} and the base64 of 24 to 64 random bytes")
    return key


def signature(key: bytes, message: str, timestamp: int, body: bytes) -> str:
    """As ``webhook-signature`` has it, of the message of that id sent at that time."""
    signed = f"{message}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
