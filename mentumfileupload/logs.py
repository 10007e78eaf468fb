"""Logs: one JSON object a line, on standard error, ours and the libraries' alike.

A line is put together and written in one go, at the place that has something to say: what was told before a kill is
in the log.
"""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(level: str) -> None:
    """Set up structlog and the standard library's logging. `level` is a name such as `info`."""
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
                structlog.processors.JSONRenderer(_encode_text),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(max(number, logging.INFO))
    # What a page refused stands in the request's own line.
    logging.getLogger("django.request").setLevel(logging.ERROR)


def _encode(entry: EventDict, default: Callable[[Any], Any]) -> bytes:
    """Anything: a path may have been no UTF-8, and a number too large for orjson."""
    try:
        return orjson.dumps(entry, default=default)
    except TypeError:
        return json.dumps(entry, default=default).encode()


def _encode_text(entry: EventDict, default: Callable[[Any], Any]) -> str:
    return _encode(entry, default).decode()
