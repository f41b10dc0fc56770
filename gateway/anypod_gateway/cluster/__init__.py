"""Pools and workers as Kubernetes has them: a ``discovery`` source beside the pools file."""
