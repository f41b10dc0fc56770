"""The three images: what each is made from. Nothing else decides when one is built anew."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.images import base, builders, cache
from tests.cluster.images.base import Base
from tests.cluster.images.builders import Order
from tests.cluster.telling import step

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Recipe:
    name: str
    dockerfile: Path
    context: Path
    base: Base
    base_argument: str
    """The Dockerfile's build argument, and the variable of the environment, that names a base."""

    @property
    def title(self) -> str:
        return self.name.removeprefix("localhost/").partition(":")[0]


ANYPOD = Recipe("localhost/anypod:dev", ROOT / "Dockerfile", ROOT, base.PYTHON, "PYTHON_IMAGE")
WORKER = Recipe(
    "localhost/anypod-worker:dev",
    ROOT / "worker_image/Dockerfile",
    ROOT,
    base.PYTHON,
    "PYTHON_IMAGE",
)
ETCD = Recipe(
    "localhost/anypod-etcd:dev", HERE / "etcd/Dockerfile", HERE / "etcd", base.ETCD, "DEBIAN_IMAGE"
)
ALL = (ANYPOD, WORKER, ETCD)


def archive_of(recipe: Recipe) -> Path:
    """Raises CannotBuild, CommandFailed."""

    def make(path: Path) -> None:
        with step(f"building the image {recipe.title}"):
            build(recipe, path)

    return cache.kept(recipe.title, content_key(recipe), make)


def content_key(recipe: Recipe) -> str:
    makers = [HERE / name for name in ("builders.py", "recipes.py", "pip_settings.py")]
    parts: list[str | bytes] = [recipe.name, _base_key(recipe), os.uname().machine]
    parts += [os.environ.get(builders.VARIABLE, "")]
    for file in [*makers, recipe.dockerfile, *context_files(recipe.context)]:
        parts += [str(file.relative_to(ROOT)), file.read_bytes()]
    return cache.key(*parts)


def context_files(context: Path) -> Iterator[Path]:
    """What a builder is given of a folder, in a stable order."""
    for folder in _let_in(context):
        files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
        yield from (file for file in files if file.is_file() and not _is_compiled(file))


def _let_in(context: Path) -> list[Path]:
    ignore = context / ".dockerignore"
    if not ignore.exists():
        return [context]
    lines = ignore.read_text().splitlines()
    return [context / line.removeprefix("!") for line in lines if line.startswith("!")]


def _is_compiled(file: Path) -> bool:
    return "__pycache__" in file.parts or file.suffix == ".pyc"


def _given_base(recipe: Recipe) -> str | None:
    return os.environ.get(recipe.base_argument)


def _base_key(recipe: Recipe) -> str:
    given = _given_base(recipe)
    if given is not None:
        return given
    return "" if base.why_not() else base.content_key(recipe.base)


def build(recipe: Recipe, archive: Path, **arguments: str) -> None:
    """On the base that was named; else on one of this machine's packages; else a registry's.

    ``arguments`` are more of the Dockerfile's. Raises CannotBuild, CommandFailed.
    """
    builder = builders.choose()
    given = _given_base(recipe)
    own = given is None and not base.why_not()
    root = base.archive(recipe.base) if own else None
    name = given
    with cache.locked("builder"):
        builder.tidy()
        if root is not None:
            name = f"localhost/anypod-base-{recipe.base.title}:{base.content_key(recipe.base)}"
            builder.use_archive(name, root)
        if name is not None:
            arguments |= {recipe.base_argument: name}
        order = Order(recipe.name, recipe.dockerfile, recipe.context, arguments, not own)
        builder.build(order, archive)
