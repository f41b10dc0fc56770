"""The images that a cluster of the tests runs: built once per content, kept as OCI archives.

``archives()`` is what the rest of the tests need; ``python -m tests.cluster.images`` builds them
and says how large they are and how fast they start. docs/images.md describes them.
"""

from pathlib import Path

from tests.cluster.images import recipes
from tests.cluster.images.commands import CannotBuild

ANYPOD = recipes.ANYPOD.name
WORKER = recipes.WORKER.name
ETCD = recipes.ETCD.name

__all__ = ["ANYPOD", "ETCD", "WORKER", "CannotBuild", "archive", "archives"]


def archives() -> list[Path]:
    """An archive of each image, built where it is not in the cache.

    Raises CannotBuild, with the reason in one line, where this machine lacks what that takes.
    """
    return [recipes.archive_of(recipe) for recipe in recipes.ALL]


def archive(name: str) -> Path:
    """Of one image: ANYPOD, WORKER or ETCD. Raises CannotBuild."""
    (recipe,) = (recipe for recipe in recipes.ALL if recipe.name == name)
    return recipes.archive_of(recipe)
