"""Builders: from a pool to the objects that it is made of. Pure, plain dicts."""

from anypod_operator.objects.build import build

__all__ = ["build"]
