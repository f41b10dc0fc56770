"""What still has to be sent on a link, in order, and how much of it travels together."""

import asyncio

from anypod.wire.codec import BATCH_BYTES
from anypod.wire.messages import Check, Execute, Message, Program, SessionState


class Unsent:
    """Filled by anybody on the loop, emptied by one writer."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._ping = False
        self._woken: asyncio.Future[None] | None = None

    def add(self, message: Message) -> None:
        self._messages.append(message)
        self._wake()

    def ask_ping(self) -> None:
        self._ping = True
        self._wake()

    def take_ping(self) -> bool:
        asked, self._ping = self._ping, False
        return asked

    def take(self) -> list[Message]:
        """The next batch; what is taken counts as sent."""
        messages, size = self._messages, 0
        for count, message in enumerate(messages, 1):
            size += weight(message)
            if size >= BATCH_BYTES:
                self._messages = messages[count:]
                return messages[:count]
        self._messages = []
        return messages

    def withdraw(self, id_: str) -> bool:
        """Take back an execution or check that has not been taken yet."""
        for position, message in enumerate(self._messages):
            if isinstance(message, Execute | Check) and message.id == id_:
                del self._messages[position]
                return True
        return False

    def clear(self) -> list[Message]:
        left, self._messages = self._messages, []
        self._ping = False
        return left

    async def wait(self) -> None:
        """Until there is something to take. A turn of the loop has passed then, so that what
        others add in the same turn travels along."""
        if not self._messages and not self._ping:
            self._woken = asyncio.get_running_loop().create_future()
            try:
                await self._woken
            finally:
                self._woken = None

    def _wake(self) -> None:
        woken = self._woken
        if woken is not None and not woken.done():
            woken.set_result(None)


def weight(message: Message) -> int:
    """Roughly its size when encoded."""
    if isinstance(message, Execute):
        return 256 + len(message.inputs)
    if isinstance(message, SessionState):
        return 256 + len(message.state)
    if isinstance(message, Program | Check):
        return 256 + sum(len(text) for text in message.code.files.values())
    return 128
