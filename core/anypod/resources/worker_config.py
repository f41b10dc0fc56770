"""From a pool's spec to what each of its workers is told."""

from anypod.resources.workerpool import WorkerPool
from anypod.wire.config import Limits, Recycle, WorkerConfig


def worker_config(pool: WorkerPool, worker: str, **where: str | int) -> WorkerConfig:
    """``where`` is host, port and log_format, which the pool does not say."""
    spec = pool.spec
    return WorkerConfig(
        worker=worker,
        pool=pool.metadata.name,
        executors=spec.executors,
        isolation=spec.isolation,
        preload=list(spec.preload),
        env={variable.name: variable.value for variable in spec.env},
        max_sessions=spec.sessions.max_per_worker,
        drain_seconds=spec.drain_seconds,
        limits=Limits(
            memory_bytes=spec.limits.memory,
            output_bytes=spec.limits.body_bytes,
            log_bytes=spec.limits.log_bytes,
            open_files=spec.limits.open_files,
            processes=spec.limits.processes,
            interrupt_grace_seconds=spec.limits.interrupt_grace_seconds,
        ),
        recycle=Recycle(
            max_executions=spec.recycle.max_executions,
            max_age_seconds=spec.recycle.max_age_seconds,
            memory_growth_bytes=spec.recycle.memory_growth,
        ),
        **where,  # type: ignore[arg-type]
    )
