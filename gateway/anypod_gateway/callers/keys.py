"""API keys from a directory, as a mounted Secret is one: a file for each, which bears its name.

A file holds the bare key, which then may do everything, or JSON that narrows it. What cannot be
read is complained of once, and what the file said last holds: a slip neither locks callers out nor
lets any in. No complaint quotes a file, for it may be a key that stands in the wrong place.
"""

import asyncio
import hashlib
import logging
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from anypod.wire import strict_json
from anypod_gateway.callers.rights import EVERY_POOL, VERBS, Rights, Verb, is_pattern

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
MAX_KEYS = 10_000
MAX_FILE_BYTES = 16 * 1024
MIN_KEY_LENGTH = 16
"""Shorter ones can be guessed."""

_OF_THIS_PROCESS = secrets.token_bytes(32)

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}")
_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What can stand behind ``Bearer`` (RFC 6750)."""

Stamp = tuple[int, int, int, int]


class BrokenKey(Exception):
    """Why a file is no key; never with anything that stands in it."""


@dataclass(frozen=True, slots=True)
class KeyCaller:
    """A caller that showed this key."""

    name: str
    digest: bytes = field(repr=False)
    rights: Rights = field(repr=False)

    async def may(self, verb: Verb, pool: str) -> bool:
        return self.rights.allow(verb, pool)


def digest_of(key: str) -> bytes:
    """What a key is found by: nobody outside can know it, and it means nothing elsewhere."""
    shown = key.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(shown, key=_OF_THIS_PROCESS, digest_size=32).digest()


class ApiKeys:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: dict[str, Stamp] | None = None
        self._good: dict[str, KeyCaller] = {}
        """By file, as they were when they could last be read."""
        self._complaints: dict[str, str] = {}
        self._complained = ""
        self._by_digest: Mapping[bytes, KeyCaller] = {}

    @property
    def good(self) -> int:
        """Keys that open something."""
        return len(self._by_digest)

    @property
    def broken(self) -> int:
        """Files that cannot be read, whether or not they once could."""
        return len(self._complaints)

    def find(self, digest: bytes) -> KeyCaller | None:
        # What the time of this look-up can tell is how far the digest of a guess agrees with that
        # of a key, and nobody can know the digest of a guess: so it tells nothing of the key,
        # which itself is compared nowhere.
        return self._by_digest.get(digest)

    async def follow(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self.read)

    def read(self) -> None:
        """What has changed, if anything has. Blocks."""
        try:
            stamps = _stamps(self._directory)
        except OSError as reason:
            self._complain(f"{self._directory} cannot be read, the last ones hold: {reason}")
            return
        too_many = len(stamps) > MAX_KEYS
        self._complain(f"of more than {MAX_KEYS} files the others open nothing" if too_many else "")
        stamps = dict(sorted(stamps.items())[:MAX_KEYS])
        if stamps != self._seen:
            self._take({name: self._parsed(name) for name in stamps})
            self._seen = stamps  # of before the reading: what changed meanwhile is seen next time

    def _parsed(self, name: str) -> KeyCaller | str | None:
        """The key; or what is wrong with it; or None, when it has gone."""
        if len(name) > 253 or not _NAME.fullmatch(name):
            return "a key's name has letters, digits, '.', '_' and '-' only"
        try:
            return parse(name, _content(self._directory / name))
        except FileNotFoundError:
            return None
        except OSError as reason:
            return f"it cannot be read: {reason.strerror}"
        except BrokenKey as reason:
            return str(reason)

    def _take(self, found: Mapping[str, KeyCaller | str | None]) -> None:
        complaints = {name: one for name, one in found.items() if isinstance(one, str)}
        good: dict[str, KeyCaller] = {}
        by_digest: dict[bytes, KeyCaller] = {}
        for name, one in sorted(found.items()):
            if isinstance(one, KeyCaller):
                first = by_digest.setdefault(one.digest, one)
                if first is one:
                    good[name] = one
                else:
                    complaints[name] = f"it is the same key as {first.name}"
        for name in complaints:
            last = self._good.get(name)
            if last is not None and last.digest not in by_digest:
                good[name] = by_digest[last.digest] = last
        for name, reason in complaints.items():
            if self._complaints.get(name) != reason:
                then = "what it was before holds" if name in good else "it opens nothing"
                log.warning("API key %s: %s; %s", ascii(name)[1:-1][:253], reason, then)
        self._tell(good)
        self._good, self._complaints, self._by_digest = good, complaints, by_digest

    def _tell(self, good: Mapping[str, KeyCaller]) -> None:
        if self._seen is None or good.keys() != self._good.keys():
            gone = sorted(self._good.keys() - good.keys())
            new = sorted(good.keys() - self._good.keys())
            log.info("API keys: %d; new: %s; gone: %s", len(good), _some(new), _some(gone))

    def _complain(self, reason: str) -> None:
        if reason and reason != self._complained:
            log.warning("API keys: %s", reason)
        self._complained = reason


def _stamps(directory: Path) -> dict[str, Stamp]:
    found: dict[str, Stamp] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith("."):  # Kubernetes keeps the files of a Secret in such
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:  # of a Secret's key that has just been taken away
                continue
            if not stat.S_ISDIR(status.st_mode):
                found[entry.name] = (
                    status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size
                )  # fmt: skip
    return found


def _content(file: Path) -> bytes:
    if not stat.S_ISREG(file.stat().st_mode):
        raise BrokenKey("it is no file")
    with file.open("rb") as opened:
        content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise BrokenKey(f"it is longer than {MAX_FILE_BYTES} bytes")
    return content


def parse(name: str, content: bytes) -> KeyCaller:
    """Raises BrokenKey."""
    content = content.strip()
    if not content.startswith(b"{"):
        return KeyCaller(name, digest_of(_checked(content)), Rights([EVERY_POOL], VERBS))
    try:
        told = strict_json.loads(content)
    except strict_json.InvalidJson:
        raise BrokenKey("it begins as JSON, and is none") from None
    if told.keys() - {"key", "pools", "verbs"}:
        raise BrokenKey("it has members beside key, pools and verbs")
    key = told.get("key")
    if not isinstance(key, str):
        raise BrokenKey("it has no key")
    digest = digest_of(_checked(key.encode("utf-8", "surrogatepass")))
    return KeyCaller(name, digest, _rights(told))


def _checked(key: bytes) -> str:
    try:
        text = key.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not _KEY.fullmatch(text):
        raise BrokenKey("a key has letters, digits, and '-._~+/' only, and '=' at its end")
    if len(text) < MIN_KEY_LENGTH:
        raise BrokenKey(f"a key has at least {MIN_KEY_LENGTH} characters")
    return text


def _rights(told: Mapping[str, Any]) -> Rights:
    pools = told.get("pools", [EVERY_POOL])
    if not (isinstance(pools, list) and all(isinstance(one, str) for one in pools)):
        raise BrokenKey("pools is no list of names")
    for number, one in enumerate(pools):
        if not is_pattern(one):
            raise BrokenKey(f"pools[{number}] is no name, no name.namespace, and no pattern")
    verbs = told.get("verbs", list(VERBS))
    if not (isinstance(verbs, list) and all(one in get_args(Verb) for one in verbs)):
        raise BrokenKey(f"verbs is no list of {', '.join(VERBS)}")
    return Rights(pools, verbs)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:20]) or "none"
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
