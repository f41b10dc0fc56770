"""A job as it is told: to who asks for it, and to who is to be told of its end. Pure."""

from typing import Any

import msgspec

from anypod.api.jobs import JobDocument, JobProgress, WebhookDocument
from anypod.api.webhooks import origin_of
from anypod.store.job_records import Job, Progress, Webhook


def document(pool: str, job: Job, progress: Progress | None) -> JobDocument:
    """``progress``: what is known beside the job itself."""
    return JobDocument(
        id=job.id,
        pool=pool,
        program=job.program or None,
        revision=job.told_revision,
        task=job.task,
        session=job.session,
        state=job.state,
        labels=job.labels,
        priority=job.priority,
        not_before=(job.waits_until if job.state == "queued" else None) or job.not_before,
        attempts=job.attempts,
        max_attempts=job.max_attempts,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        execution=job.execution or None,
        worker=job.worker or None,
        progress=_progress(job.progress or progress),
        problem=_problem(job),
        webhook=_webhook(job.webhook),
    )


def ending(pool: str, job: Job) -> bytes:
    """What a webhook is sent of a final job: the same at each attempt."""
    told = document(pool, job, None).model_dump(mode="json", exclude={"webhook"})
    at = told["finishedAt"]
    return msgspec.json.encode({"type": f"job.{job.state}", "timestamp": at, "data": told})


def _progress(progress: Progress | None) -> JobProgress | None:
    if progress is None:
        return None
    return JobProgress(done=progress.done, total=progress.total, message=progress.message)


def _problem(job: Job) -> dict[str, Any] | None:
    return {"type": job.problem, "detail": job.detail} if job.problem else None


def _webhook(webhook: Webhook | None) -> WebhookDocument | None:
    if webhook is None:
        return None
    return WebhookDocument(
        origin=origin_of(webhook.url),
        state=webhook.state,
        attempts=webhook.attempts,
        problem=webhook.problem or None,
    )
