"""What of the repository is made of the models, as paths and texts."""

from pathlib import Path

import yaml

from anypod.resources.crd import definition
from anypod.resources.reference import page

_NOTE = "# Generated from core/anypod/resources; `make crds` makes it anew.\n"


class _Plain(yaml.SafeDumper):
    """Without anchors: a reader of YAML should not have to look elsewhere."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def files() -> dict[Path, str]:
    """By path from the root of the repository."""
    crd = yaml.dump(definition(), Dumper=_Plain, sort_keys=False, width=110, allow_unicode=True)
    return {
        Path("crds/workerpools.anypod.dev.yaml"): _NOTE + crd,
        Path("docs/workerpool.md"): page(),
    }
