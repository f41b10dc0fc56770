"""What a streaming execution still has to send: never more under way than the gateway allows.

Chunks and log lines wait for credit, the result waits behind them. The executor may be one window
of chunks ahead of what has been sent, so what waits here is bounded by that and by the log limit.
"""

from collections import deque
from collections.abc import Callable

from anypod.wire.messages import WINDOW, Chunk, Log
from anypod_worker.frames import CHUNK_WINDOW

CREDIT_STEP = WINDOW // 4
"""Credit goes back to the executor in steps of this, not for every small chunk."""


class Outbox:
    def __init__(
        self, send: Callable[[Chunk | Log], None], on_passed: Callable[[int], None]
    ) -> None:
        """``on_passed`` hears how many bytes of chunks have been sent since it last heard."""
        self._send = send
        self._on_passed = on_passed
        self._waiting: deque[tuple[Chunk | Log, int]] = deque()
        self._allowed = WINDOW
        self._passed = 0
        self._kept = 0
        self._dropped = False
        self._at_end: Callable[[], None] | None = None

    @property
    def is_full(self) -> bool:
        """So many bytes of chunks wait that no executor that counts its credit sends more."""
        return self._kept >= CHUNK_WINDOW

    def push(self, message: Chunk | Log, size: int) -> None:
        if not self._dropped:
            self._waiting.append((message, size))
            if isinstance(message, Chunk):
                self._kept += size
            self._pump()

    def credit(self, size: int) -> None:
        self._allowed += size
        self._pump()

    def end(self, at_end: Callable[[], None]) -> None:
        """Nothing more comes; ``at_end`` sends the result, behind what waits."""
        self._at_end = at_end
        self._pump()

    def drop(self) -> None:
        """Whoever reads has left: nothing but the end is sent from here on."""
        self._dropped = True
        self._waiting.clear()
        self._kept = 0
        self._pump()

    def _pump(self) -> None:
        while self._waiting:
            message, size = self._waiting[0]
            if self._allowed <= 0:
                break
            self._waiting.popleft()
            self._allowed -= size
            self._send(message)
            if isinstance(message, Chunk):
                self._passed += size
                self._kept -= size
        if self._passed >= CREDIT_STEP:
            passed, self._passed = self._passed, 0
            self._on_passed(passed)
        if self._at_end is not None and not self._waiting:
            at_end, self._at_end = self._at_end, None
            at_end()
