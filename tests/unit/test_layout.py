"""The shape of the repository that code and tools rely on."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_no_package_at_the_root_shadows_the_standard_library() -> None:
    """``operator/__init__.py`` at the root would break every interpreter started there."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_source_roots_are_not_packages() -> None:
    for root in ("core", "gateway", "operator", "worker_image"):
        assert not (ROOT / root / "__init__.py").exists()


def test_the_constraints_pin_names_and_versions_and_nothing_else() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        assert name, line
        assert version, line
        assert "/" not in line, line
        assert "@" not in line, line
