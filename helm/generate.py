"""Makes what in the chart is derived: README.md from values.yaml, and the copies of the CRDs.

``make chart`` runs it; a test fails when its results are not what is in the repository. A chart can
hold no file from outside its folder, so the custom resources are copied into it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "anypod"
CRDS = ROOT / "crds"

_HEAD = """# AnyPod's chart

Gateways, the operator, etcd, and the custom resource WorkerPool.
[docs/install.md](../../docs/install.md) says how to install, upgrade, back up and uninstall; this
page is made from [values.yaml](values.yaml) (`make chart`). A value that is not in the table is an
error.

```sh
helm install anypod helm/anypod
```

| value | default | meaning |
| --- | --- | --- |
"""


@dataclass(frozen=True)
class Value:
    path: str
    default: str
    meaning: str


def results() -> dict[Path, str]:
    """Every derived file, and what is to be in it."""
    copies = {CHART / "files/crds" / path.name: path.read_text() for path in CRDS.glob("*.yaml")}
    return {CHART / "README.md": readme((CHART / "values.yaml").read_text()), **copies}


def readme(text: str) -> str:
    lines = [f"| `{each.path}` | {each.default} | {each.meaning} |" for each in values(text)]
    return _HEAD + "\n".join(lines) + "\n"


def values(text: str) -> list[Value]:
    """Of a values.yaml: each leaf with the comment above it and those above what it is part of."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    return list(_leaves(node, "", text.splitlines()))


def _leaves(node: yaml.MappingNode, within: str, lines: list[str]) -> Iterator[Value]:
    for key, value in node.value:
        path = f"{within}{key.value}"
        meaning = _comment_above(lines, key.start_mark.line)
        is_group = isinstance(value, yaml.MappingNode) and value.value
        if is_group and not path.endswith("resources"):
            if meaning:
                yield Value(path, "", meaning)
            yield from _leaves(value, f"{path}.", lines)
        else:
            yield Value(path, _default(value), meaning)


def _comment_above(lines: list[str], line: int) -> str:
    found: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].strip().removeprefix("#").strip())
    return " ".join(found).replace("|", "\\|")


def _default(node: yaml.Node) -> str:
    text = yaml.serialize(node, Dumper=_Flow, width=1000).strip().removesuffix("...").strip()
    return "" if text in ('""', "''") else f"`{text}`"


class _Flow(yaml.SafeDumper):
    """On one line."""

    def serialize_node(self, node: yaml.Node, parent: object, index: object) -> None:
        if isinstance(node, yaml.CollectionNode):
            node.flow_style = True
        super().serialize_node(node, parent, index)


def main() -> None:
    for path, text in results().items():
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
