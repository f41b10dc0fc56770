"""What one execution prints, without keys: kept up to a limit, counted beyond, logged by lines."""

import codecs
import logging
from collections.abc import Callable
from typing import Literal

from anypod.wire.messages import Output
from anypod_worker import logs
from anypod_worker.keys import NO_KEYS, Hiding, Keys

Stream = Literal["stdout", "stderr"]

_LINE_CHARACTERS = 8192


class Printed:
    def __init__(
        self,
        execution: str,
        limit: int,
        on_text: Callable[[str, str], None] | None,
        keys: Keys = NO_KEYS,
    ) -> None:
        """``on_text`` gets what is kept, as it comes."""
        self._execution = execution
        self._room = limit
        self._on_text = on_text
        self._keys = keys
        self._hiding: dict[Stream, Hiding] = {}
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._kept: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._line = {"stdout": "", "stderr": ""}
        self.cut_bytes = 0

    def add(self, stream: Stream, data: bytes) -> None:
        if self._keys.hides:
            data = self._hiding.setdefault(stream, Hiding(self._keys)).feed(data)
        self._keep(stream, data)

    def _keep(self, stream: Stream, data: bytes) -> None:
        kept = data[: self._room]
        self._room -= len(kept)
        self.cut_bytes += len(data) - len(kept)
        if kept:
            if stream not in self._decoders:
                self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
            self._take(stream, self._decoders[stream].decode(kept))

    def _take(self, stream: str, text: str) -> None:
        if not text:
            return
        self._kept[stream].append(text)
        self._log(stream, text)
        if self._on_text is not None:
            self._on_text(stream, text)

    def _log(self, stream: str, text: str) -> None:
        *lines, rest = (self._line[stream] + text).split("\n")
        if len(rest) > _LINE_CHARACTERS:
            lines.append(rest)
            rest = ""
        self._line[stream] = rest
        for line in lines:
            self._log_line(stream, line)

    def _log_line(self, stream: str, line: str) -> None:
        logs.event(logging.INFO, line, execution=self._execution, stream=stream)

    def end(self) -> None:
        """Nothing more comes: log unfinished lines and how much was cut."""
        for hidden_in, hiding in self._hiding.items():
            self._keep(hidden_in, hiding.end())
        for stream, decoder in self._decoders.items():
            self._take(stream, decoder.decode(b"", final=True))
            if self._line[stream]:
                self._log_line(stream, self._line[stream])
                self._line[stream] = ""
        if self.cut_bytes:
            logs.event(
                logging.WARNING,
                "output was cut",
                execution=self._execution,
                cut_bytes=self.cut_bytes,
            )

    def output(self) -> Output:
        return Output(
            stdout="".join(self._kept["stdout"]),
            stderr="".join(self._kept["stderr"]),
            cut_bytes=self.cut_bytes,
        )
