"""The token that etcd gives for a password, got when it is needed and got again when it is refused.

A simple token of etcd ends when it was not used for five minutes, with its server's process, and
whenever users or roles change. Nothing tells of that but a call that is refused; it was not done,
so it can be sent again with another token. Many calls that are refused at once get one new token
between them, as etcd spends some 50 ms of its processor on each.
"""

import asyncio
import time

import grpc
import grpc.aio
from etcd3aio.auth import AuthService
from etcd3aio.errors import EtcdUnauthenticatedError

from anypod.store.etcd_security import EtcdSecurity
from anypod.store.kv import StoreUnavailable

_LOGIN_SECONDS = 3.0
_YOUNG_SECONDS = 1.0
"""A token that is refused so soon is not known yet to the member that was asked."""
_AGAIN_SECONDS = 1.0
"""After a password that was refused: another one may be in the file by then."""

_REFUSALS = ("auth store is old", "user name is empty", "invalid auth token")


class Login:
    """Of one channel."""

    def __init__(self, channel: grpc.aio.Channel, security: EtcdSecurity) -> None:
        self.token: str | None = None
        """None before there is one; empty where etcd asks for none."""
        self._auth = AuthService(channel, max_attempts=1)
        self._security = security
        self._since = float("-inf")
        self._asking: asyncio.Task[str] | None = None
        self._refusal: tuple[float, str] | None = None

    async def done(self) -> str:
        """The token. Raises what the library raises when etcd cannot be asked, StoreUnavailable
        when it refuses."""
        if self.token is not None:
            return self.token
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        # In a task of its own: whoever waits may stop, and others wait for the same one.
        asking = self._asking
        await asyncio.wait({asking})
        if asking.cancelled():
            raise StoreUnavailable("the connection was closed")
        return asking.result()

    def refuse(self, token: str, *, unless_younger: float = _YOUNG_SECONDS) -> bool:
        """That this token was refused; whether another one will be got for that."""
        if self.token == token:
            if time.monotonic() - self._since < unless_younger:
                return False
            self.token = None
        return True

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    def _asked(self, task: "asyncio.Task[str]") -> None:
        self._asking = None
        if not task.cancelled() and task.exception() is None:
            self.token, self._since = task.result(), time.monotonic()

    async def _ask(self) -> str:
        if self._refusal is not None and time.monotonic() < self._refusal[0]:
            raise StoreUnavailable(self._refusal[1])
        self._refusal = None
        security = self._security
        try:
            password = await asyncio.to_thread(security.password)
        except (OSError, UnicodeDecodeError) as reason:
            raise StoreUnavailable(f"the password of etcd's user: {reason}") from None
        try:
            found = await self._auth.authenticate(security.user, password, timeout=_LOGIN_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:  # it authenticates nobody
                return ""
            raise self._refused(error.details() or error.code().name) from None
        except EtcdUnauthenticatedError as error:
            raise self._refused(str(error)) from None
        return str(found.token)

    def _refused(self, reason: str) -> StoreUnavailable:
        text = f"etcd does not let {self._security.user!r} in: {reason}"
        self._refusal = (time.monotonic() + _AGAIN_SECONDS, text)
        return StoreUnavailable(text)


def is_refusal(code: grpc.StatusCode, details: str) -> bool:
    """Whether a call was not done for want of a token that holds."""
    return code is grpc.StatusCode.UNAUTHENTICATED or any(one in details for one in _REFUSALS)
