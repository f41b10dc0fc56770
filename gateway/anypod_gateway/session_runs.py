"""A run in a session: its state comes from the store and goes back there before the answer leaves.

The commit belongs to the result, not to the caller: a caller that leaves while it is under way
changes nothing, for the worker waits for the store's verdict before it starts the next call.
"""

import logging
from typing import Final

from anypod.api.problems import Problem, error, problem
from anypod.store.kv import StoreUnavailable, ValueTooLarge
from anypod.store.records import UnreadableRecord
from anypod.store.sessions import Pin, SessionStore, StateConflict
from anypod.wire.messages import Refused, Result, SessionRef, SessionState, Verdict
from anypod_gateway.attempts import Attempt, End, Failed
from anypod_gateway.courses import Run
from anypod_gateway.errands import Errands
from anypod_gateway.executions import ExecutionRequest
from anypod_gateway.workers import Worker

log = logging.getLogger(__name__)

MAX_STALE = 5
"""How often a worker may refuse the epoch that the store says holds."""

_STALE: Final = "stale-epoch"


class SessionRun(Run):
    def __init__(
        self,
        request: ExecutionRequest,
        key: str,
        order: int,
        store: SessionStore,
        *,
        stream: bool,
        grace: float,
        errands: Errands,
    ) -> None:
        super().__init__(request, stream=stream, grace=grace, errands=errands)
        self.key = key
        self.order = order
        """Of its arrival at this gateway."""
        self.pin: Pin | None = None
        """Where it was last sent."""
        self.is_stale = False
        """The worker has refused this pin."""
        self.is_crowded = False
        """The worker has no room for the session."""
        self.stale = 0
        self._store = store
        self._instead: End | None = None

    def begin_at(self, worker: Worker, pin: Pin, on_busy: str, *, stream: bool) -> Attempt:
        self.pin = pin
        self.is_stale = self.is_crowded = False
        self._instead = None
        self.session = SessionRef(pin.key, pin.epoch, "fail" if on_busy == "fail" else "queue")
        attempt = self._attempt(worker, stream=stream, shared=False)
        if attempt is None:
            raise self.error("deadline-exceeded", "its time was over before it was sent")
        return attempt

    # the state

    def need_state(self, attempt: Attempt) -> None:
        assert self.pin is not None
        self.errands.run(self._send_state(attempt, self.pin))

    async def _send_state(self, attempt: Attempt, pin: Pin) -> None:
        try:
            found = await self._store.state(pin.key)
        except (StoreUnavailable, UnreadableRecord) as reason:
            attempt.finish(Failed(reason))
            attempt.worker.abandon(attempt)
            return
        if found is None or found.epoch != pin.epoch:
            # It has moved or ended. The worker's answer is waited for, which is on its way already
            # if it knows that too: the same execution must not be sent to it twice at once.
            self._instead = Refused(self.id, _STALE)
            attempt.worker.abandon(attempt)
            return
        attempt.asked = False
        attempt.worker.tell(SessionState(self.id, found.json, found.version))

    def deliver(self, attempt: Attempt, result: Result) -> None:
        assert self.pin is not None
        self.note(result)
        if self._instead is not None:
            attempt.finish(self._instead)
        elif result.failure is not None and result.failure.type == "session-not-found":
            self.errands.run(self._explain_end(attempt, result, self.pin))
        elif result.state is not None and result.failure is None:
            self.errands.run(self._commit(attempt, result, result.state, self.pin))
        else:
            attempt.finish(result)

    async def _commit(self, attempt: Attempt, result: Result, state: bytes, pin: Pin) -> None:
        end: End = result
        version = 0
        try:
            version = await self._store.write_state(pin, state, base=result.base)
        except Exception as reason:  # noqa: BLE001 - it is raised to the caller
            end = Failed(self._refusal(reason, pin))
        committed = end is result
        attempt.worker.tell(Verdict(pin.key, pin.epoch, committed, version))
        attempt.finish(end)

    def _refusal(self, reason: Exception, pin: Pin) -> Exception:
        match reason:
            case StateConflict():
                return self.error(
                    "session-state-conflict",
                    "the session has moved, ended or changed while this ran; its state is not kept",
                )
            case ValueTooLarge():
                return self.error(
                    "too-large",
                    f"the session's state has {reason.size} bytes; the store takes {reason.limit}",
                    limit=reason.limit,
                )
            case StoreUnavailable():
                return self.store_away(
                    "the program ran; whether its session's state is kept is not known"
                )
        log.error("the state of session %s was not written", pin.key, exc_info=reason)
        return self.error("internal-error", "AnyPod could not write the session's state")

    async def _explain_end(self, attempt: Attempt, result: Result, pin: Pin) -> None:
        """A worker that must drop a session does not know whether it ended or moved."""
        try:
            now = await self._store.get(pin.key)
        except (StoreUnavailable, UnreadableRecord):
            now = None
        if now is None:
            attempt.finish(result)
        else:
            moved = self.error(
                "session-state-conflict", "the session moved to another worker while this ran"
            )
            attempt.finish(Failed(moved))

    # what refusals mean

    def retry(self, end: End) -> str:
        if isinstance(end, Refused):
            self._weigh(end.reason)
        return super().retry(end)

    def _weigh(self, reason: str) -> None:
        if reason == "session-busy":
            self.tries -= 1
            raise self.error("session-busy", "the session runs another call")
        if reason == "session-queue-full":
            self.tries -= 1
            raise self.error("queue-full", "too many calls of the session wait", retry_after=1)
        self.is_stale = reason == _STALE
        self.is_crowded = reason == "sessions-full"
        self.stale += self.is_stale
        if self.stale > MAX_STALE:
            raise self.error("session-state-conflict", "the session moves or ends too often")


def lost(key: str) -> Problem:
    return problem(
        "session-lost",
        f"the worker of session {key!r} was lost, and with it the session",
        session=key,
    )


def ended(key: str) -> Exception:
    return error("session-not-found", f"session {key!r} ended while the call waited", session=key)
