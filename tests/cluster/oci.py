"""An image of one static program, written without a builder: an OCI archive is tar and JSON."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.archives import MACHINES, REF_NAME

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def write_archive(archive: Path, name: str, program: Path) -> None:
    """``program`` as /program, run as an ordinary user."""
    blobs: dict[str, bytes] = {}

    def keep(content: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    layer = _tar({"program": program.read_bytes()}, mode=0o755)
    config = {
        "architecture": MACHINES.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Entrypoint": ["/program"], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": keep(_json(config), _CONFIG),
        # Not compressed: an archive is written once, and unpacked at every start.
        "layers": [keep(layer, _LAYER)],
    }
    entry = keep(_json(manifest), _MANIFEST) | {"annotations": {REF_NAME: name}}
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]}
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index)}
    partial = archive.with_name(f"{archive.name}.{os.getpid()}")
    partial.write_bytes(_tar(files | blobs, mode=0o644))
    partial.rename(archive)


def _tar(files: Mapping[str, bytes], mode: int) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
