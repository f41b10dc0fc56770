"""``python -m anypod_operator``: settings from the command line, then the operator's loop."""

import asyncio
import gc
import json
import logging
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

from anypod_operator.settings import parse


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _FirstTries(logging.Filter):
    """Of a request of kopf's that is tried for ever, only the first failure is news."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = str(record.msg)
        return not text.startswith("Request attempt #") or text.startswith("Request attempt #1 ")


def main() -> int:
    settings = parse(sys.argv[1:])
    _set_up_logs(settings.log_format)
    # Nothing that is made while modules are imported is garbage, and to look for some takes a
    # tenth of the start.
    gc.disable()
    from anypod_operator import running

    gc.enable()
    try:
        asyncio.run(_run_until_signal(running.run(settings)))
    except Exception:
        logging.getLogger(__name__).exception("the operator broke")
        return 1
    return 0


async def _run_until_signal(work: Coroutine[Any, Any, None]) -> None:
    """kopf takes the signals over once it watches; until then they just end the process."""
    loop, task = asyncio.get_running_loop(), asyncio.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


def _set_up_logs(style: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s %(message)s")
    handler.setFormatter(_Json() if style == "json" else text)
    handler.addFilter(_FirstTries())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("kopf").setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
