"""Conditional requests and ranges (RFC 9110, 13 and 14): what of a file a reader wants, if anything.

Pure: headers in, a decision out. What cannot be read is ignored, as the RFC wants it: a date that is none, a range of
another unit, a malformed one. Several ranges are ignored, too: the whole file answers them.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from starlette.datastructures import Headers

from file.logic.errors import ConditionFailedError, RangeRefusedError
from file.logic.values import Receipt

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one state of a file from another. `etag` is strong; `modified` counts in whole seconds."""

    etag: str
    modified: datetime

    @property
    def last_modified(self) -> str:
        return format_datetime(self.modified.astimezone(UTC), usegmt=True)


def validators_of(receipt: Receipt) -> Validators:
    """Of an acknowledged file."""
    assert receipt.digests is not None
    assert receipt.stored_at is not None
    return Validators(f'"{receipt.digests.sha256.hex()}"', receipt.stored_at)


def is_unchanged(headers: Headers, validators: Validators) -> bool:
    """Whether the reader has it already (304), in the order of RFC 9110, 13.2.2. Raises `ConditionFailedError`."""
    modified = validators.modified.replace(microsecond=0)
    if (wanted := _joined(headers, "if-match")) is not None:
        if wanted.strip() != "*" and validators.etag not in _tags(wanted, weak=False):
            raise ConditionFailedError
    elif (since := _date(headers, "if-unmodified-since")) is not None and modified > since:
        raise ConditionFailedError
    if (known := _joined(headers, "if-none-match")) is not None:
        return known.strip() == "*" or validators.etag in _tags(known, weak=True)
    since = _date(headers, "if-modified-since")
    return since is not None and modified <= since


def wanted_range(headers: Headers, validators: Validators, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last, or None for the whole file. Raises `RangeRefusedError`."""
    match = _RANGE.fullmatch(_joined(headers, "range") or "")
    if match is None or not _is_of_this(headers, validators):
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeRefusedError
    return start, stop


def _is_of_this(headers: Headers, validators: Validators) -> bool:
    """If-Range: whether the part that the reader has is of this very file. A date must be equal, not only later."""
    wanted = _joined(headers, "if-range")
    if wanted is None:
        return True
    return wanted.strip() == validators.etag or wanted.strip() == validators.last_modified


def _joined(headers: Headers, name: str) -> str | None:
    """All lines of a header as one (RFC 9110, 5.3)."""
    return ", ".join(headers.getlist(name)) if name in headers else None


def _tags(text: str, *, weak: bool) -> list[str]:
    """The entity tags of a list; without `weak` only the strong ones."""
    return [tag for prefix, tag in _TAG.findall(text) if weak or not prefix]


def _date(headers: Headers, name: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(headers.get(name, ""))
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
