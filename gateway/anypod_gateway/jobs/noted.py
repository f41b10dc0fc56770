"""Executions of jobs, counted as those are that a call waits for."""

from anypod_gateway.events import Events
from anypod_gateway.executions import ExecutionAnswer, ExecutionRequest, Runner


class Noted:
    """Runs for one pool, and tells ``events`` of it."""

    def __init__(self, runner: Runner, pool: str, events: Events) -> None:
        self._runner = runner
        self._pool = pool
        self._events = events

    async def run(self, request: ExecutionRequest) -> ExecutionAnswer:
        self._events.executing(self._pool, True)
        try:
            answer = await self._runner.run(request)
        finally:
            self._events.executing(self._pool, False)
        info = answer.info
        self._events.executed(self._pool, info.queue_seconds, info.run_seconds)
        return answer
