"""What a route declares. One table of these is both what is served and what OpenAPI says."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from anypod.api import ids, jobs
from anypod_gateway.callers.rights import Needs

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    where: str
    """``path``, ``query`` or ``header``."""
    schema: Schema
    description: str = ""
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    description: str
    model: Any = None
    """A pydantic or msgspec class; None for an answer without a document of ours."""
    content_type: str = "application/json"
    headers: tuple[str, ...] = ()
    schema: Schema | None = None
    """In the place of ``model``."""


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: Handler
    summary: str
    answers: tuple[Answer, ...]
    tag: str
    needs: Needs
    """What a caller has to be allowed to do in the pool of the path."""
    problems: tuple[str, ...] = ()
    """Types from the table, beside those that any route can answer."""
    parameters: tuple[Parameter, ...] = ()
    """Beside those of the path, which follow from it."""
    request: Any = None
    """Model of the body, or a tuple of models of which one fits; None when there is none."""
    upload: tuple[str, Schema] | None = None
    """Media type and schema of a body that no model reads."""
    description: str = ""

    @property
    def requests(self) -> tuple[Any, ...]:
        if self.request is None:
            return ()
        return self.request if isinstance(self.request, tuple) else (self.request,)

    @property
    def name(self) -> str:
        """As operationId."""
        return self.handler.__name__


PATH_PARAMETERS = {
    parameter.name: parameter
    for parameter in (
        Parameter(
            "pool",
            "path",
            {"type": "string", "pattern": ids.POOL_REF},
            "A pool's name; of one in another namespace than the gateway's: `name.namespace`.",
        ),
        Parameter(
            "program", "path", {"type": "string", "pattern": ids.PROGRAM_ID}, "A program's id."
        ),
        Parameter(
            "program_ref",
            "path",
            {"type": "string", "pattern": ids.PROGRAM_REF},
            "A program's id: its latest revision; or `id@revision`, with at least 8 digits.",
        ),
        Parameter(
            "session", "path", {"type": "string", "pattern": ids.SESSION_KEY}, "A session's key."
        ),
        Parameter("job", "path", {"type": "string", "pattern": jobs.JOB_ID}, "A job's id."),
        Parameter(
            "worker", "path", {"type": "string", "pattern": ids.WORKER_NAME}, "A worker's name."
        ),
    )
}


def needs_of(table: Sequence[Route]) -> dict[Handler, Needs]:
    """By handler, of which each route has its own."""
    found = {route.handler: route.needs for route in table}
    if len(found) != len(table):
        raise ValueError("two routes have one handler")
    return found


def queries_of(table: Sequence[Route]) -> dict[tuple[str, str], dict[str, bool]]:
    """By method and path, the names that the API has in a query, and which may stand twice; of its
    other paths none is known, as who measures has names of its own."""
    return {
        (route.method, route.path): {
            one.name: one.repeatable for one in route.parameters if one.where == "query"
        }
        for route in table
        if route.path.startswith("/v1")
    }


def register(app: web.Application, table: Sequence[Route]) -> None:
    for route in table:
        if route.method == "GET":
            app.router.add_get(route.path, route.handler)  # and HEAD
        else:
            app.router.add_route(route.method, route.path, route.handler)
