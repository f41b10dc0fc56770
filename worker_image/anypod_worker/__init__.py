"""The worker: a supervisor and its executors."""
