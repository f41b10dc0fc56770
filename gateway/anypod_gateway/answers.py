"""Documents to HTTP answers."""

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from anypod.api import usage
from anypod.api.documents import AnswerModel
from anypod.api.executions import Execution, Logs, RunAnswer
from anypod.api.problems import CONTENT_TYPE as PROBLEM_TYPE
from anypod.api.problems import Problem
from anypod.wire.messages import Output
from anypod_gateway.executions import ExecutionAnswer, ExecutionInfo
from anypod_gateway.whole import Whole

JSON_TYPE = "application/json"

_encode = msgspec.json.Encoder().encode
decode_problem = msgspec.json.Decoder(Problem).decode


def document(
    told: AnswerModel | dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A dict is for what holds values that pass through as they are (``msgspec.Raw``)."""
    body = told.model_dump_json().encode() if isinstance(told, AnswerModel) else _encode(told)
    return web.Response(status=status, body=body, content_type=JSON_TYPE, headers=headers)


def page(names: Sequence[str], after: str, limit: int) -> tuple[list[str], str | None]:
    """One page of names that are all there and in order, and where the next one begins."""
    beyond = names[names.index(after) + 1 :] if after in names else names
    chosen = list(beyond[:limit])
    return chosen, chosen[-1] if len(beyond) > limit else None


def problem(told: Problem) -> web.Response:
    headers: CIMultiDict[str] = CIMultiDict()
    if told.retry_after is not None:
        headers["Retry-After"] = str(told.retry_after)
    for header, value in (
        ("X-AnyPod-Execution", told.execution),
        ("X-AnyPod-Worker", told.worker),
        ("X-AnyPod-Revision", told.revision),
        ("X-AnyPod-Attempt", told.attempt),
    ):
        if value:
            headers[header] = str(value)
    return web.Response(
        status=told.status, body=_encode(told), content_type=PROBLEM_TYPE, headers=headers
    )


def run(answer: ExecutionAnswer) -> Whole:
    return Whole(run_head(answer.info), run_body(answer))


def run_body(answer: ExecutionAnswer) -> bytes:
    return _encode(run_answer(answer))


def run_answer(answer: ExecutionAnswer) -> RunAnswer:
    info = answer.info
    return RunAnswer(
        msgspec.Raw(answer.outputs),
        Execution(
            info.execution,
            info.revision,
            info.worker,
            info.attempt,
            round(info.queue_seconds, 6),
            round(info.run_seconds, 6),
            info.program or None,
            info.session,
            _logs(answer.printed),
            None if answer.usage is None else usage.told(answer.usage),
        ),
    )


def _logs(printed: Output | None) -> Logs | None:
    return None if printed is None else Logs(printed.stdout, printed.stderr, printed.cut_bytes)


def execution_in(head: str) -> str:
    """The execution that such header lines name; empty if there is none."""
    return head.partition("X-AnyPod-Execution: ")[2].partition("\r\n")[0]


def run_head(info: ExecutionInfo) -> str:
    """Header lines."""
    return (
        f"Content-Type: {JSON_TYPE}\r\n"
        f"X-AnyPod-Execution: {info.execution}\r\n"
        f"X-AnyPod-Worker: {info.worker}\r\n"
        f"X-AnyPod-Revision: {info.revision}\r\n"
        f"X-AnyPod-Attempt: {info.attempt}\r\n"
        f"Server-Timing: queue;dur={info.queue_seconds * 1000:.3f},"
        f" run;dur={info.run_seconds * 1000:.3f}\r\n"
    )
