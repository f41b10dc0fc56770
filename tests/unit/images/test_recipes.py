"""What the Dockerfiles promise to each other and to the project, read from their text."""

import re
import tomllib
from pathlib import Path

import pytest
from tests.cluster.images import base, recipes
from tests.cluster.images.recipes import Recipe

PROJECT = tomllib.loads((recipes.ROOT / "pyproject.toml").read_text())


def wheel_stages(dockerfile: Path) -> list[str]:
    """Up to the stage that makes the wheel, without what is said of it."""
    text = dockerfile.read_text()
    lines = text[: text.index(" AS dependencies")].splitlines()[:-1]
    return [line for line in lines if line and not line.startswith("#")]


def test_the_wheel_is_built_once_for_both_images() -> None:
    """A builder has in its cache what begins with the same steps."""
    stages = wheel_stages(recipes.ANYPOD.dockerfile)
    assert any("pip" in line and "wheel" in line for line in stages)
    assert stages == wheel_stages(recipes.WORKER.dockerfile)


@pytest.mark.parametrize("recipe", [recipes.ANYPOD, recipes.WORKER])
def test_a_dockerfile_names_a_base_and_the_projects_version(recipe: Recipe) -> None:
    text = recipe.dockerfile.read_text()
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+-slim$", text, re.MULTILINE)
    version = PROJECT["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in text


def test_a_builder_is_given_what_the_wheel_is_made_of_and_no_more() -> None:
    given = {file.relative_to(recipes.ROOT) for file in recipes.context_files(recipes.ROOT)}
    folders = [
        Path(name) for name in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ]
    for folder in folders:
        if (recipes.ROOT / folder).exists():
            assert folder / "__init__.py" in given
    files = {Path(name) for name in ("pyproject.toml", "constraints.txt", "README.md")}
    assert files <= given
    assert not [path for path in given - files if not any(f in path.parents for f in folders)]


# when an image is built anew


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Of a folder that a test may change."""
    monkeypatch.setattr(recipes, "ROOT", Path("/"))
    monkeypatch.delenv("PYTHON_IMAGE", raising=False)
    (tmp_path / "package").mkdir()
    (tmp_path / "package/module.py").write_text("a = 1")
    (tmp_path / "test_module.py").write_text("")
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    (tmp_path / ".dockerignore").write_text("*\n!package\n")
    return Recipe("localhost/x:dev", tmp_path / "Dockerfile", tmp_path, base.PYTHON, "PYTHON_IMAGE")


@pytest.mark.parametrize("changed", ["package/module.py", "Dockerfile", "package/new.py"])
def test_another_content_is_another_image(recipe: Recipe, changed: str) -> None:
    before = recipes.content_key(recipe)
    assert recipes.content_key(recipe) == before
    (recipe.context / changed).write_text("something else")
    assert recipes.content_key(recipe) != before


@pytest.mark.parametrize("changed", ["test_module.py", "package/__pycache__/module.pyc"])
def test_what_no_image_has_changes_none(recipe: Recipe, changed: str) -> None:
    before = recipes.content_key(recipe)
    (recipe.context / changed).parent.mkdir(exist_ok=True)
    (recipe.context / changed).write_text("something else")
    assert recipes.content_key(recipe) == before


def test_another_base_is_another_image(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    before = recipes.content_key(recipe)
    monkeypatch.setenv("PYTHON_IMAGE", "python:3.13-slim")
    assert recipes.content_key(recipe) != before
