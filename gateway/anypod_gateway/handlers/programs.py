"""Creating, changing and showing programs."""

import json
from typing import Any

import msgspec
from aiohttp import hdrs, web

from anypod.api import ids
from anypod.api.dspy_programs import CreateDspyProgram, PutDspyProgram
from anypod.api.problems import AnyPodError, error
from anypod.api.programs import (
    CreateProgram,
    ProgramDocument,
    ProgramList,
    ProgramSummary,
    PutProgram,
    RevisionDocument,
    RevisionList,
    RevisionOrigin,
    Rollback,
)
from anypod.dspy.spec import FILE
from anypod.store.program_records import Head, check_match, taken
from anypod.store.programs import ProgramStore
from anypod.store.revisions import Origin, Revision
from anypod_gateway import answers, requests
from anypod_gateway.calls import CALL
from anypod_gateway.given import checked, named, parsed
from anypod_gateway.services import SERVICES, Pool, session_key


async def create_program(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    pool = await services.pool(request, request[CALL])
    given = parsed(await services.body(request, pool), CreateProgram, CreateDspyProgram)
    program = given.id or ids.new_program_id()
    code = named(pool.spec, given)
    store = await _to_change(request, pool)
    head = await store.get(program) if given.id else None
    if head is not None:
        if head.revision != code.revision or given.labels not in (None, head.labels):
            raise error(
                "already-exists",
                str(taken(head, code.revision)),
                program=program,
                revision=head.revision,
            )
        return _program(pool, head, await _blob(store, head))
    revision = await checked(pool.runner, program, code)
    written = await store.create(program, revision, given.labels)
    return _program(pool, written.head, revision, created=written.created)


async def put_program(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    pool = await services.pool(request, request[CALL])
    given = parsed(await services.body(request, pool), PutProgram, PutDspyProgram)
    program, expected = _program_id(request), requests.if_match(request)
    code = named(pool.spec, given)
    store = await _to_change(request, pool)
    head = await store.get(program)
    check_match(program, head, expected)
    if head is not None and head.revision == code.revision:
        # Only labels can differ; the code has been checked before.
        revision = await _blob(store, head)
    else:
        revision = await checked(pool.runner, program, code)
    written = await store.put(program, revision, given.labels, if_match=expected)
    return _program(pool, written.head, revision, created=written.created)


async def get_program(request: web.Request) -> web.Response:
    pool = await request.app[SERVICES].pool(request, request[CALL])
    store, head = await _find(request, pool)
    return _program(pool, head, await _blob(store, head))


async def list_programs(request: web.Request) -> web.Response:
    pool = await request.app[SERVICES].pool(request, request[CALL])
    after, limit = requests.page(request.query)
    labels = requests.labels(request)
    page = await pool.programs(session_key(request, pool)).page(
        after=after, limit=limit, labels=labels
    )
    items = [ProgramSummary(**_summary(pool, head)) for head in page.items]
    return answers.document(ProgramList(items=items, next=page.next))


async def delete_program(request: web.Request) -> web.Response:
    pool = await request.app[SERVICES].pool(request, request[CALL])
    program, expected = _program_id(request), requests.if_match(request)
    await pool.programs(session_key(request, pool)).delete(program, if_match=expected)
    return web.Response(status=204)


async def list_revisions(request: web.Request) -> web.Response:
    pool = await request.app[SERVICES].pool(request, request[CALL])
    after, limit = requests.page(request.query)
    store, head = await _find(request, pool)
    steps = await store.revisions(head.id)
    chosen, following = answers.page([step.revision for step in steps], after, limit)
    items = [
        RevisionDocument(
            revision=step.revision,
            created_at=step.created_at,
            latest=step.revision == head.revision,
            origin=_origin(step.origin),
        )
        for step in steps
        if step.revision in chosen
    ]
    return answers.document(RevisionList(items=items, next=following))


async def roll_back_program(request: web.Request) -> web.Response:
    services = request.app[SERVICES]
    pool = await services.pool(request, request[CALL])
    given = requests.parse(Rollback, await services.body(request, pool))
    program, expected = _program_id(request), requests.if_match(request)
    store = pool.programs(session_key(request, pool))
    written = await store.rollback(program, given.revision, if_match=expected)
    return _program(pool, written.head, await _blob(store, written.head))


def _program_id(request: web.Request) -> str:
    program = request.match_info["program"]
    if not ids.is_program_id(program):
        raise no_program(program)
    return program


def no_program(program: str) -> AnyPodError:
    return error("program-not-found", f"there is no program {program!r}", program=program)


async def _to_change(request: web.Request, pool: Pool) -> ProgramStore:
    """Where a program is written: to the session, which begins with this if need be."""
    session = session_key(request, pool)
    if session is not None:
        await pool.open_session(session)
    return pool.programs(session)


async def _find(request: web.Request, pool: Pool) -> tuple[ProgramStore, Head]:
    """The session's program of that id, else the pool's."""
    program, session = _program_id(request), session_key(request, pool)
    for owner in dict.fromkeys((session, None)):
        store = pool.programs(owner)
        head = await store.get(program)
        if head is not None:
            return store, head
    raise no_program(program)


async def _blob(store: ProgramStore, head: Head) -> Revision:
    revision = await store.revision(head.id, head.revision)
    if revision is None:  # deleted since the head was read
        raise no_program(head.id)
    return revision


def _origin(origin: Origin | None) -> RevisionOrigin | None:
    return None if origin is None else RevisionOrigin(**msgspec.structs.asdict(origin))


def _summary(pool: Pool, head: Head) -> dict[str, Any]:
    return {
        "id": head.id,
        "pool": pool.name,
        "kind": head.kind,
        "revision": head.revision,
        "entrypoint": head.entrypoint,
        "timeout_seconds": head.timeout_seconds,
        "idempotent": head.idempotent,
        "concurrency": head.concurrency,
        "labels": head.labels,
        "created_at": head.created_at,
        "updated_at": head.updated_at,
        "streams": head.streams,
        "session": head.session,
    }


def _program(pool: Pool, head: Head, revision: Revision, *, created: bool = False) -> web.Response:
    definition = json.loads(revision.files[FILE]) if head.kind == "dspy" else None
    document = ProgramDocument(
        **_summary(pool, head),
        files={} if definition else revision.files,
        definition=definition,
        doc=revision.doc,
        inputs_schema=revision.inputs_schema,
        outputs_schema=revision.outputs_schema,
    )
    headers: dict[str, str] = {hdrs.ETAG: f'"{head.revision}"'}
    if created:
        headers[hdrs.LOCATION] = f"/v1/pools/{pool.name}/programs/{head.id}"
    return answers.document(document, 201 if created else 200, headers)
