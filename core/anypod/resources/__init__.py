"""The WorkerPool resource: one model for the manifest, local mode, the operator and the docs."""

from anypod.resources.workerpool import WorkerPool, WorkerPoolSpec

__all__ = ["WorkerPool", "WorkerPoolSpec"]
