"""Logs: one JSON object per line on standard error, for our lines and those of libraries.

Text from a client or a store is limited in length, and characters that are not printable are escaped as in JSON: a line
has no terminal control, no line break, and no change of direction. A JSON parser returns the same text.

A line is made and written at once by the code that logs it, so that the log has all lines from before a kill.
"""

import json
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

_LONGEST = 2048  # characters of one value; shorter lines are not examined
_LONGEST_TRACEBACK = 16_384
_NOT_ASCII = re.compile(r"[^ -~]")

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(level: str) -> None:
    """Configures structlog and the logging of the standard library. `level` is a name, for example `info`."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*_SHARED, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_encode)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(lambda entry, default: _encode(entry, default).decode()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(max(number, logging.INFO))
    # The line of the request says what a page refused.
    logging.getLogger("django.request").setLevel(logging.ERROR)


def _encode(entry: EventDict, default: Callable[[Any], Any]) -> bytes:
    """The line as bytes. Nearly every line is short and ASCII, so that one check is enough."""
    line = _dumped(entry, default)
    if len(line) > _LONGEST:
        line = _dumped({name: _cut(name, value, default) for name, value in entry.items()}, default)
    if line.isascii() and b"\x7f" not in line:  # JSON has already escaped characters below a space
        return line
    text = line.decode()
    return line if text.isprintable() else _NOT_ASCII.sub(_escaped, text).encode()


def _dumped(value: Any, default: Callable[[Any], Any]) -> bytes:
    """Encodes any value: a path may be invalid UTF-8, and a number too large for orjson."""
    try:
        return orjson.dumps(value, default=default)
    except TypeError:
        return json.dumps(value, default=default).encode()


def _cut(name: str, value: Any, default: Callable[[Any], Any]) -> Any:
    """Cuts a long value to its beginning; a traceback to its end, which says most."""
    text = value if isinstance(value, str) else _dumped(value, default).decode()
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
