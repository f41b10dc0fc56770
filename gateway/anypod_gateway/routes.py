"""The table of routes: what is served, and what ``/openapi.json`` says, are both made from it."""

from anypod.api import idempotency, ndjson, programs, webhooks
from anypod.api.dspy_programs import CreateDspyProgram, LmParameters, PutDspyProgram
from anypod.api.dspy_tasks import EvaluateProgram, OptimizeProgram
from anypod.api.executions import (
    HIGHEST_TEMPERATURE,
    LONGEST_TIMEOUT,
    MOST_TOKENS,
    Logs,
    RunAnswer,
    RunInlineRequest,
    RunRequest,
)
from anypod.api.jobs import STATES, JobDocument, JobList
from anypod.api.pools import PoolDocument, PoolList, WorkerDocument, WorkerList
from anypod.api.problems import OF_THE_PROGRAM
from anypod.api.programs import ProgramDocument, ProgramList, RevisionList
from anypod.api.sessions import SessionDocument, SessionList, SessionLm
from anypod_gateway.handlers import job_events, jobs, maps, meta, pools, runs, sessions, tasks
from anypod_gateway.handlers import programs as program_handlers
from anypod_gateway.handlers.streams import EVENT_STREAM
from anypod_gateway.requests import DEFAULT_PAGE, MAX_PAGE
from anypod_gateway.routing import Answer, Parameter, Route, Schema

POOLS = "/v1/pools"
POOL = POOLS + "/{pool}"
PROGRAMS = POOL + "/programs"
PROGRAM = PROGRAMS + "/{program}"
SESSIONS = POOL + "/sessions"
WORKERS = POOL + "/workers"

JOBS = POOL + "/jobs"
JOB = JOBS + "/{job}"

SESSION = Parameter(
    "X-Session-ID",
    "header",
    {"type": "string", "pattern": r"^[A-Za-z0-9._~:@-]{1,128}$"},
    "The session that the call belongs to; a pool may name the header otherwise.",
)
IF_MATCH = Parameter(
    "If-Match",
    "header",
    {"type": "string", "pattern": r'^(\*|"[^"]*")$'},
    'Only if this, as `"revision"`, is the latest one; else 409.',
)
IDEMPOTENCY_KEY = Parameter(
    idempotency.HEADER,
    "header",
    {"type": "string", "pattern": idempotency.PATTERN},
    "The run happens once: whoever repeats the call with the same key gets its answer.",
)
LOGS = Parameter(
    "logs", "query", {"type": "boolean", "default": False}, "Answer with what was printed."
)
PAGE = (
    Parameter(
        "limit",
        "query",
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
        "Items of one page.",
    ),
    Parameter("after", "query", {"type": "string"}, "`next` of the page before."),
)
LABEL = Parameter(
    "label",
    "query",
    {"type": "string", "pattern": "^[^=]+=[^\\n]*$"},
    "`key=value` that a program must have; all of several.",
    repeatable=True,
)

JOB_LABEL = Parameter(
    "label",
    "query",
    {"type": "string", "pattern": "^[^=]+=[^\\n]*$"},
    "`key=value` that a job must have; all of several.",
    repeatable=True,
)
WAIT = Parameter("Prefer", "header", {"type": "string"}, "`wait=SECONDS`: until it has ended.")
LAST_EVENT = Parameter(
    "Last-Event-ID",
    "header",
    {"type": "string", "pattern": "^[0-9]{1,9}$"},
    "The last number that was seen: only later states are told.",
)
PREFER = Parameter(
    "Prefer",
    "header",
    {"type": "string"},
    "`respond-async`: do not wait; the run becomes a job.",
)
AS_JOB = (
    Parameter(
        "priority",
        "query",
        {"type": "integer", "minimum": -100, "maximum": 100, "default": 0},
        "Of a job: higher ones go first.",
    ),
    Parameter(
        "notBefore",
        "query",
        {"type": "string", "format": "date-time"},
        "Of a job: it does not begin earlier.",
    ),
    Parameter(
        "maxAttempts",
        "query",
        {"type": "integer", "minimum": 1, "maximum": 10},
        "Of a job: more than 1 for idempotent programs, which have 3 unless it is said; to "
        "evaluate or optimise, 1.",
    ),
    Parameter(
        "label",
        "query",
        {"type": "string", "pattern": "^[^=]+=[^\\n]*$"},
        "Of a job: `key=value` to find it by.",
        repeatable=True,
    ),
    Parameter(
        webhooks.HEADER,
        "header",
        {"type": "string", "format": "uri", "maxLength": webhooks.LONGEST_URL},
        "Of a job: where its end is told, signed as Standard Webhooks are. A run that is no job is "
        "refused with it.",
    ),
)

RUN_HEADERS = (
    "X-AnyPod-Execution",
    "X-AnyPod-Worker",
    "X-AnyPod-Revision",
    "X-AnyPod-Attempt",
    "Server-Timing",
    idempotency.REPLAYED,
)
RUN_ANSWERS = (
    Answer(200, "The outputs, or the events of the run.", RunAnswer, headers=RUN_HEADERS),
    Answer(
        200,
        "The outputs, or the events of the run.",
        content_type=EVENT_STREAM,
        schema={
            "type": "string",
            "description": "Events `chunk` (a JSON value), `log` (`stream`, `text`), and last "
            "`result` (as the JSON answer) or `problem`; comments while nothing happens.",
        },
        headers=RUN_HEADERS,
    ),
    Answer(
        202,
        "It will run: with `Prefer: respond-async`, once that is certain.",
        JobDocument,
        headers=("Location", "Preference-Applied", idempotency.REPLAYED),
    ),
)
TASK_ANSWERS = (
    Answer(
        202,
        "It will be done.",
        JobDocument,
        headers=("Location", "Preference-Applied", idempotency.REPLAYED),
    ),
)

BATCH_PARAMETERS = (
    Parameter(
        "unordered",
        "query",
        {"type": "boolean", "default": False},
        "Answers as they come, not in the order of the items.",
    ),
    Parameter(
        "concurrency",
        "query",
        {"type": "integer", "minimum": 1, "maximum": maps.MOST_AT_ONCE},
        "Items at once; at most, and by default, what the pool runs at once and a little.",
    ),
    Parameter(
        "timeoutSeconds",
        "query",
        {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_TIMEOUT},
        "Of each item's execution; at most the pool's maximum.",
    ),
    Parameter(
        "lm",
        "query",
        {"type": "string"},
        "Of a program of kind dspy: the pool's LM that it asks, over what it says.",
    ),
    Parameter(
        "temperature",
        "query",
        {"type": "number", "minimum": 0, "maximum": HIGHEST_TEMPERATURE},
        "What is said to that LM instead.",
    ),
    Parameter(
        "maxTokens",
        "query",
        {"type": "integer", "minimum": 1, "maximum": MOST_TOKENS},
        "What is said to that LM instead.",
    ),
)

POOL_PROBLEMS = ("pool-not-found", "store-unavailable")
BODY_PROBLEMS = ("too-large", "unsupported-media-type")
PROGRAM_PROBLEMS = (*POOL_PROBLEMS, "program-not-found")
PLACING_PROBLEMS = ("queue-full", "no-worker", "worker-lost", "deadline-exceeded")
RUN_PROBLEMS = (
    *POOL_PROBLEMS,
    *BODY_PROBLEMS,
    *PLACING_PROBLEMS,
    "session-not-found",
    "session-state-conflict",
    "session-busy",
    "session-lost",
    "idempotency-key-reused",
    "answer-not-kept",
    "invalid-program",
    *OF_THE_PROGRAM,
)
CHANGE_PROBLEMS = (
    *PROGRAM_PROBLEMS,
    *BODY_PROBLEMS,
    "session-not-found",
    "session-lost",
    "revision-conflict",
)
CHECK_PROBLEMS = (*PLACING_PROBLEMS, "invalid-program", "out-of-memory")
TASK_PROBLEMS = (
    *PROGRAM_PROBLEMS,
    "revision-not-found",
    *BODY_PROBLEMS,
    "queue-full",
    "idempotency-key-reused",
    "answer-not-kept",
    "invalid-program",
    "invalid-inputs",
)

JOB_PROBLEMS = (*POOL_PROBLEMS, "job-not-found")

TEXT: Schema = {"type": "string"}

TABLE = (
    Route(
        "POST",
        PROGRAMS + "/{program_ref}/run",
        runs.run_program,
        "Run a program",
        description="With `Accept: text/event-stream` the run is streamed. A client that goes "
        "away cancels it.",
        tag="runs",
        needs="run",
        request=RunRequest,
        parameters=(LOGS, SESSION, IDEMPOTENCY_KEY, PREFER, *AS_JOB),
        answers=RUN_ANSWERS,
        problems=("program-not-found", "revision-not-found", *RUN_PROBLEMS),
    ),
    Route(
        "POST",
        PROGRAMS + "/{program_ref}/map",
        maps.map_program,
        "Run a program on many inputs",
        description="Read and answered as a stream, at the reader's pace. Each line is an item: "
        "its inputs. A blank line is counted, and not answered. With a key, a batch that is sent "
        "again runs only what has no answer yet. A client that goes away cancels it.",
        tag="runs",
        needs="run",
        upload=(ndjson.MEDIA_TYPE, {"description": "JSON objects, each in a line of its own."}),
        parameters=(*BATCH_PARAMETERS, LOGS, SESSION, IDEMPOTENCY_KEY),
        answers=(
            Answer(
                200,
                "A line for each item, and one at the end.",
                content_type=ndjson.MEDIA_TYPE,
                schema={
                    "type": "string",
                    "description": "JSON objects: `index` (the number of its line, from 0) with "
                    "`outputs` and `execution`, or with `problem`; last `end`, with the counts "
                    "`items`, `succeeded`, `failed` and `replayed`, and with `problem` if not all "
                    "was read. Blank lines while nothing happens.",
                },
                headers=("X-AnyPod-Revision",),
            ),
        ),
        problems=(*PROGRAM_PROBLEMS, "unsupported-media-type", "session-not-found"),
    ),
    Route(
        "POST",
        PROGRAMS + "/{program_ref}/evaluate",
        tasks.evaluate_program,
        "Evaluate a program of kind dspy",
        description="A job asks it for each example and judges what it says. Its progress tells "
        "the score so far, its outputs are `score` (the mean), `count`, `errors` and `items`. "
        "The metric may be source, so this is writing.",
        tag="runs",
        needs="write",
        request=EvaluateProgram,
        parameters=(IDEMPOTENCY_KEY, *AS_JOB),
        answers=TASK_ANSWERS,
        problems=TASK_PROBLEMS,
    ),
    Route(
        "POST",
        PROGRAMS + "/{program_ref}/optimize",
        tasks.optimize_program,
        "Optimise a program of kind dspy",
        description="A job looks for better demos or instructions, and scores the program before "
        "and after. What it finds is the program's next revision, which names its origin, unless "
        "the score is lower or the program has changed meanwhile.",
        tag="runs",
        needs="write",
        request=OptimizeProgram,
        parameters=(IDEMPOTENCY_KEY, *AS_JOB),
        answers=TASK_ANSWERS,
        problems=(*TASK_PROBLEMS, "revision-conflict"),
    ),
    Route(
        "POST",
        POOL + "/run",
        runs.run_inline,
        "Run a program that comes with the call",
        description="It is kept nowhere, and need not be created. Bringing a program is writing.",
        tag="runs",
        needs="write",
        request=RunInlineRequest,
        parameters=(LOGS, SESSION, IDEMPOTENCY_KEY, PREFER, *AS_JOB),
        answers=RUN_ANSWERS,
        problems=RUN_PROBLEMS,
    ),
    Route(
        "POST",
        PROGRAMS,
        program_handlers.create_program,
        "Create a program",
        description="It is compiled and imported on a worker first, so what is accepted runs. "
        "With a session's header it belongs to that session, and ends with it.",
        tag="programs",
        needs="write",
        request=(programs.CreateProgram, CreateDspyProgram),
        parameters=(SESSION,),
        answers=(
            Answer(201, "Created.", ProgramDocument, headers=("ETag", "Location")),
            Answer(200, "It is there already, just so.", ProgramDocument, headers=("ETag",)),
        ),
        problems=(*CHANGE_PROBLEMS, *CHECK_PROBLEMS, "already-exists"),
    ),
    Route(
        "GET",
        PROGRAMS,
        program_handlers.list_programs,
        "List programs",
        description="Of the pool, or with a session's header those that the session owns.",
        tag="programs",
        needs="read",
        parameters=(*PAGE, LABEL, SESSION),
        answers=(Answer(200, "One page, by id.", ProgramList),),
        problems=(*POOL_PROBLEMS, "session-not-found"),
    ),
    Route(
        "GET",
        PROGRAM,
        program_handlers.get_program,
        "Get a program",
        tag="programs",
        needs="read",
        parameters=(SESSION,),
        answers=(Answer(200, "The program.", ProgramDocument, headers=("ETag",)),),
        problems=PROGRAM_PROBLEMS,
    ),
    Route(
        "PUT",
        PROGRAM,
        program_handlers.put_program,
        "Give a program a new revision, or create it",
        tag="programs",
        needs="write",
        request=(programs.PutProgram, PutDspyProgram),
        parameters=(IF_MATCH, SESSION),
        answers=(
            Answer(200, "The latest revision is this one.", ProgramDocument, headers=("ETag",)),
            Answer(201, "Created.", ProgramDocument, headers=("ETag", "Location")),
        ),
        problems=(*CHANGE_PROBLEMS, *CHECK_PROBLEMS),
    ),
    Route(
        "DELETE",
        PROGRAM,
        program_handlers.delete_program,
        "Delete a program and all its revisions",
        tag="programs",
        needs="write",
        parameters=(IF_MATCH, SESSION),
        answers=(Answer(204, "It is gone."),),
        problems=(*PROGRAM_PROBLEMS, "revision-conflict", "session-not-found", "session-lost"),
    ),
    Route(
        "GET",
        PROGRAM + "/revisions",
        program_handlers.list_revisions,
        "List a program's revisions",
        tag="programs",
        needs="read",
        parameters=(*PAGE, SESSION),
        answers=(Answer(200, "One page, the latest first.", RevisionList),),
        problems=PROGRAM_PROBLEMS,
    ),
    Route(
        "POST",
        PROGRAM + "/rollback",
        program_handlers.roll_back_program,
        "Make an earlier revision the latest",
        tag="programs",
        needs="write",
        request=programs.Rollback,
        parameters=(IF_MATCH, SESSION),
        answers=(Answer(200, "The program as it is now.", ProgramDocument, headers=("ETag",)),),
        problems=(*CHANGE_PROBLEMS, "revision-not-found"),
    ),
    Route(
        "GET",
        SESSIONS,
        sessions.list_sessions,
        "List sessions",
        description="Of all callers: who knows a session's key can run in it.",
        tag="sessions",
        needs="admin",
        parameters=PAGE,
        answers=(Answer(200, "One page, by id.", SessionList),),
        problems=POOL_PROBLEMS,
    ),
    Route(
        "GET",
        SESSIONS + "/{session}",
        sessions.get_session,
        "Get a session",
        tag="sessions",
        needs="read",
        answers=(Answer(200, "The session, with its state.", SessionDocument),),
        problems=(*POOL_PROBLEMS, "session-not-found"),
    ),
    Route(
        "PUT",
        SESSIONS + "/{session}/lm",
        sessions.choose_lm,
        "Choose the LM of a session",
        description="For programs of kind dspy, over what they say, from the next call on. The "
        "session begins with this if there is none.",
        tag="sessions",
        needs="run",
        request=LmParameters,
        answers=(Answer(200, "What holds now.", SessionLm),),
        problems=(
            *POOL_PROBLEMS,
            *BODY_PROBLEMS,
            "session-not-found",
            "session-lost",
            "session-state-conflict",
            "no-worker",
            "queue-full",
        ),
    ),
    Route(
        "DELETE",
        SESSIONS + "/{session}",
        sessions.end_session,
        "End a session, with the programs that it owns",
        tag="sessions",
        needs="run",
        answers=(Answer(204, "It is gone."),),
        problems=(*POOL_PROBLEMS, "session-not-found"),
    ),
    Route(
        "GET",
        JOBS,
        jobs.list_jobs,
        "List jobs",
        description="The caller's own; all of them for who has the verb `admin`.",
        tag="jobs",
        needs="run",
        parameters=(
            *PAGE,
            Parameter("state", "query", {"enum": list(STATES)}, "Only jobs in it."),
            Parameter("program", "query", {"type": "string"}, "Only runs of it."),
            Parameter("session", "query", {"type": "string"}, "Only those of it."),
            JOB_LABEL,
        ),
        answers=(Answer(200, "One page, the latest first; a filtered one may be short.", JobList),),
        problems=POOL_PROBLEMS,
    ),
    Route(
        "GET",
        JOB,
        jobs.get_job,
        "Get a job",
        description="With `Prefer: wait=SECONDS`, at most 60, when it has ended, or then.",
        tag="jobs",
        needs="run",
        parameters=(WAIT,),
        answers=(Answer(200, "The job.", JobDocument, headers=("Preference-Applied",)),),
        problems=JOB_PROBLEMS,
    ),
    Route(
        "GET",
        JOB + "/result",
        jobs.get_job_result,
        "Get what a job gave",
        description="What a call that had waited would have been answered, its problem too.",
        tag="jobs",
        needs="run",
        answers=(Answer(200, "The outputs.", RunAnswer, headers=RUN_HEADERS[:-1]),),
        problems=(
            *JOB_PROBLEMS,
            "program-not-found",
            *RUN_PROBLEMS,
            "budget-spent",
            "job-not-finished",
            "job-cancelled",
        ),
    ),
    Route(
        "GET",
        JOB + "/logs",
        jobs.get_job_logs,
        "Get what a job printed",
        description="The beginning of it: up to the pool's limit, and 128 KiB.",
        tag="jobs",
        needs="run",
        answers=(Answer(200, "Of the last attempt.", Logs),),
        problems=(*JOB_PROBLEMS, "job-not-finished"),
    ),
    Route(
        "GET",
        JOB + "/events",
        job_events.get_job_events,
        "Follow a job",
        description="Ends with the job.",
        tag="jobs",
        needs="run",
        parameters=(LAST_EVENT,),
        answers=(
            Answer(
                200,
                "Events `state`, which are numbered, and `progress`.",
                content_type=EVENT_STREAM,
                schema={"type": "string"},
            ),
            Answer(204, "The job has ended, and the client has had all of its events."),
        ),
        problems=JOB_PROBLEMS,
    ),
    Route(
        "POST",
        JOB + "/cancel",
        jobs.cancel_job,
        "Cancel a job",
        description="A program that runs is interrupted, then killed. What has ended stays.",
        tag="jobs",
        needs="run",
        answers=(
            Answer(200, "It has ended.", JobDocument),
            Answer(202, "It is about to end.", JobDocument),
        ),
        problems=JOB_PROBLEMS,
    ),
    Route(
        "DELETE",
        JOB,
        jobs.delete_job,
        "Delete a job that has ended",
        tag="jobs",
        needs="run",
        answers=(Answer(204, "It is gone."),),
        problems=(*JOB_PROBLEMS, "job-not-finished"),
    ),
    Route(
        "GET",
        POOLS,
        pools.list_pools,
        "List pools",
        description="Those that the caller may read.",
        tag="pools",
        needs="read",
        parameters=PAGE,
        answers=(Answer(200, "One page, by name.", PoolList),),
        problems=("store-unavailable",),
    ),
    Route(
        "GET",
        POOL,
        pools.get_pool,
        "Get a pool",
        tag="pools",
        needs="read",
        answers=(Answer(200, "The pool.", PoolDocument),),
        problems=POOL_PROBLEMS,
    ),
    Route(
        "GET",
        WORKERS,
        pools.list_workers,
        "List a pool's workers",
        tag="pools",
        needs="read",
        parameters=PAGE,
        answers=(Answer(200, "One page, by name.", WorkerList),),
        problems=POOL_PROBLEMS,
    ),
    Route(
        "GET",
        WORKERS + "/{worker}",
        pools.get_worker,
        "Get a worker",
        tag="pools",
        needs="read",
        answers=(Answer(200, "The worker.", WorkerDocument),),
        problems=(*POOL_PROBLEMS, "worker-not-found"),
    ),
    Route(
        "GET",
        "/healthz",
        meta.healthz,
        "Is the process alive?",
        tag="gateway",
        needs="open",
        answers=(Answer(200, "It is.", content_type="text/plain", schema=TEXT),),
    ),
    Route(
        "GET",
        "/readyz",
        meta.readyz,
        "Should requests be sent here?",
        tag="gateway",
        needs="open",
        answers=(
            Answer(200, "They should.", content_type="text/plain", schema=TEXT),
            Answer(503, "Not now.", content_type="text/plain", schema=TEXT),
        ),
    ),
    Route(
        "GET",
        "/metrics",
        meta.metrics,
        "Metrics for Prometheus",
        tag="gateway",
        needs="open",
        answers=(Answer(200, "In its text format.", content_type="text/plain", schema=TEXT),),
    ),
    Route(
        "GET",
        "/openapi.json",
        meta.openapi_json,
        "This document",
        tag="gateway",
        needs="open",
        answers=(Answer(200, "OpenAPI 3.1.", schema={"type": "object"}),),
    ),
    Route(
        "GET",
        "/docs",
        meta.docs,
        "This document, for people",
        tag="gateway",
        needs="open",
        answers=(Answer(200, "A page.", content_type="text/html", schema=TEXT),),
    ),
)
