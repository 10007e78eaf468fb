"""Logs: one JSON object per line on standard error, for our lines and those of libraries.

Text from a client or a store is limited in length, and characters that are not printable are escaped as in JSON: a line
has no terminal control, no line break, and no change of direction. A JSON parser returns the same text.

A line is made and written at once by the code that logs it, so that the log has all lines from before a kill. Only
`account_stored` waits for the next line, 0.1 s at most: the line of its upload follows, and is written before the
answer. A line that standard error does not take is lost; the service goes on.
"""

import asyncio
import json
import logging
import re
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, BinaryIO

import orjson
import structlog
from structlog.typing import EventDict

from file.api.requests import REQUEST_ID

_LONGEST = 2048  # characters of one value; shorter lines are not examined
_LONGEST_TRACEBACK = 16_384
_NOT_ASCII = re.compile(r"[^ -~]")
_WAITS = "account_stored"
_LONGEST_WAIT_SECONDS = 0.1


def configure(level: str) -> None:
    """Configures structlog and the logging of the standard library. `level` is a name, for example `info`."""
    number = logging.getLevelNamesMapping()[level.upper()]
    output = _Output(sys.stderr.buffer)
    structlog.configure(
        processors=[_stamped, _for_output],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=True,
    )
    lines = _Handler(output)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_stamped, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda logger, level, entry: _line(entry).decode(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(max(number, logging.INFO))
    # The line of the request says what a page refused.
    logging.getLogger("django.request").setLevel(logging.ERROR)


class _Output:
    """Standard error. Lines that wait are written together with the next line, in their order."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._waiting: list[bytes] = []
        self._lock = threading.RLock()  # the garbage collector may log in the middle of a write
        self._loop: asyncio.AbstractEventLoop | None = None  # has a timer for the lines that wait

    def msg(self, line: bytes, *, waits: bool = False) -> None:
        with self._lock:
            self._waiting.append(line)
            if not (waits and self._has_timer()):
                self.flush()

    debug = info = warning = error = critical = msg

    def flush(self) -> None:
        """Writes the lines that wait."""
        with self._lock:
            if self._waiting:
                lines, self._waiting = self._waiting, []
                with suppress(OSError):  # full, or its reader has gone
                    self._stream.write(b"\n".join((*lines, b"")))
                    self._stream.flush()

    def _has_timer(self) -> bool:
        """One timer serves all lines that wait. False: no event loop runs in this thread."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(_LONGEST_WAIT_SECONDS, self._time_is_up)
        return True

    def _time_is_up(self) -> None:
        self._loop = None
        self.flush()


class _Handler(logging.Handler):
    """Passes the lines of libraries on. `logging.shutdown` flushes it."""

    def __init__(self, output: _Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._output.msg(self.format(record).encode())
        except Exception:  # noqa: BLE001 - as every handler: a mistake in a call of the log must not end its caller
            self.handleError(record)

    def flush(self) -> None:
        self._output.flush()


def _stamped(logger: object, level: str, entry: EventDict) -> EventDict:
    """What every line has."""
    if (request_id := REQUEST_ID.get(None)) is not None:
        entry.setdefault("request_id", request_id)
    entry["level"] = level
    entry["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return entry


def _for_output(logger: object, level: str, entry: EventDict) -> tuple[tuple[bytes], dict[str, bool]]:
    """The arguments of `_Output.msg`."""
    return (_line(entry),), {"waits": entry["event"] == _WAITS}


def _line(entry: EventDict) -> bytes:
    """The line as bytes. Nearly every line is short and ASCII, so that one check is enough."""
    if "exc_info" in entry:
        entry = structlog.processors.format_exc_info(None, "", entry)
    line = _dumped(entry)
    if len(line) > _LONGEST:
        line = _dumped({name: _cut(name, value) for name, value in entry.items()})
    if line.isascii() and b"\x7f" not in line:  # JSON has already escaped characters below a space
        return line
    text = line.decode()
    return line if text.isprintable() else _NOT_ASCII.sub(_escaped, text).encode()


def _dumped(value: Any) -> bytes:
    """Encodes any value: a path may be invalid UTF-8, and a number too large for orjson."""
    try:
        return orjson.dumps(value, default=repr)
    except TypeError:
        return json.dumps(value, default=repr).encode()


def _cut(name: str, value: Any) -> Any:
    """Cuts a long value to its beginning; a traceback to its end, which says most."""
    text = value if isinstance(value, str) else _dumped(value).decode()
    if name == "exception" and len(text) > _LONGEST_TRACEBACK:
        return f"({len(text)} characters) ...{text[-_LONGEST_TRACEBACK:]}"
    if name != "exception" and len(text) > _LONGEST:
        return f"{text[:_LONGEST]}... ({len(text)} characters)"
    return value


def _escaped(found: re.Match[str]) -> str:
    """Escapes a character as in JSON; a printable one stays."""
    character = found[0]
    if character.isprintable():
        return character
    return r"\u007f" if character == "\x7f" else json.dumps(character)[1:-1]
