"""What all objects of a pool have in common: name, labels, owner."""

from anypod.resources import names
from anypod_operator.kinds import Kind, Raw
from anypod_operator.pools import Pool


def head(pool: Pool, kind: Kind, name: str) -> Raw:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": pool.namespace,
            "labels": names.labels(pool.name),
            "ownerReferences": [pool.owner.reference()],
        },
    }
