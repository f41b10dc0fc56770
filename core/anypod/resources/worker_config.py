"""From a pool's spec to what each of its workers is told."""

from typing import Any

import msgspec

from anypod.resources import names
from anypod.resources.lms import default_first
from anypod.resources.workerpool import WorkerPool, WorkerPoolSpec
from anypod.wire.config import Limits, Recycle, WorkerConfig


def worker_config(pool: WorkerPool, worker: str, **where: str | int) -> WorkerConfig:
    """``where`` is host, port and log_format, which the pool does not say."""
    declared = {variable.name: variable.value for variable in pool.spec.env}
    return _config(pool.metadata.name, pool.spec, worker=worker, env=declared, **where)


def worker_config_in_pod(pool: str, spec: WorkerPoolSpec) -> WorkerConfig:
    """The same for every pod of the pool: the pod's name and the variables of programs are in the
    container's environment (``anypod.wire.pod``). What gateways do is not in it, so that a change
    of that alone makes no new pods."""
    return _config(
        pool,
        spec,
        worker="",
        container_env=True,
        host="0.0.0.0",  # noqa: S104 - of a pod of its own
        port=names.WORKER_PORT,
    )


def _config(pool: str, spec: WorkerPoolSpec, **more: Any) -> WorkerConfig:
    return WorkerConfig(
        pool=pool,
        executors=spec.executors,
        isolation=spec.isolation,
        preload=list(spec.preload),
        lms=default_first(spec.lms, spec.default_lm) or msgspec.UNSET,
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
        **more,
    )
