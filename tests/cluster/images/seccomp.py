"""The system calls that a container may make by default, for runc.

The profile that the system's container tools ship names what holds for which architecture and
which capability; runc takes only what holds for this container.
"""

import json
import os
from pathlib import Path
from typing import Any

PROFILE = Path("/usr/share/containers/seccomp.json")
"""Of Debian's and Fedora's containers-common; a runtime's own default hardly differs."""
_MACHINES = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}


def without_capabilities() -> dict[str, Any]:
    """What a container gets that has none."""
    profile = json.loads(PROFILE.read_text())
    machine, architecture = _MACHINES[os.uname().machine]
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile.get("defaultErrnoRet", 1),
        "architectures": [architecture, *_narrower(profile, architecture)],
        "syscalls": [_rule(rule) for rule in profile["syscalls"] if _holds(rule, machine)],
    }


def _narrower(profile: dict[str, Any], architecture: str) -> list[str]:
    for each in profile["archMap"]:
        if each["architecture"] == architecture:
            return list(each["subArchitectures"])
    return []


def _holds(rule: dict[str, Any], machine: str) -> bool:
    includes = rule.get("includes") or {}
    excludes = rule.get("excludes") or {}
    if includes.get("caps") or machine in excludes.get("arches", ()):
        return False
    return machine in includes.get("arches", (machine,))


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    kept = {name: rule[name] for name in ("names", "action", "errnoRet") if name in rule}
    return kept | ({"args": rule["args"]} if rule.get("args") else {})
