"""Conditional requests and ranges (RFC 9110, 13 and 14): what of a file a reader wants, and whether it may be changed.

Pure: headers in, a decision out. What a reader sent and cannot be read is ignored, as the RFC wants it: a date that is
none, a range of another unit, a malformed one. Several ranges are ignored, too: the whole file answers them. A
condition of a change that cannot be read has failed: to ignore it could destroy what it was to protect.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from starlette.datastructures import Headers

from file.logic.errors import ConditionFailedError, RangeRefusedError
from file.logic.values import Receipt

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_CONDITIONS = frozenset((b"if-match", b"if-none-match", b"if-unmodified-since"))  # of changes
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
        if not _has(wanted, validators.etag, weak=False):
            raise ConditionFailedError("The file is not one that If-Match names.", etag=validators.etag)
    elif (since := _date(headers, "if-unmodified-since")) is not None and modified > since:
        raise ConditionFailedError("The file is newer than If-Unmodified-Since says.", etag=validators.etag)
    if (known := _joined(headers, "if-none-match")) is not None:
        return _has(known, validators.etag, weak=True)
    since = _date(headers, "if-modified-since")
    return since is not None and modified <= since


def has_conditions(headers: Headers) -> bool:
    """Whether a change has any; If-Modified-Since is for readers only (RFC 9110, 13.1.3)."""
    return any(name in _CONDITIONS for name, _ in headers.raw)


def check_change(headers: Headers, validators: Validators | None) -> None:
    """Whether a file may be stored or erased where one with these validators is, or none.

    Raises `ConditionFailedError`.
    """
    etag = None if validators is None else validators.etag
    for name in ("if-match", "if-none-match"):
        if (told := _joined(headers, name)) is not None and not _is_readable(told):
            raise ConditionFailedError(f"{name.title()} is neither * nor entity tags in quotes.", etag=etag)
    dates = set(headers.getlist("if-unmodified-since"))
    if dates and (len(dates) > 1 or _date(headers, "if-unmodified-since") is None):
        raise ConditionFailedError("If-Unmodified-Since is not one date of HTTP.", etag=etag)
    if validators is None:
        if "if-match" in headers:
            raise ConditionFailedError("There is no file that If-Match could name.")
        return
    if is_unchanged(headers, validators) and "if-none-match" in headers:
        raise ConditionFailedError("There is a file that If-None-Match excludes.", etag=etag)


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


def _has(text: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags has this one, or is `*`; without `weak` only the strong ones count."""
    return text.strip() == "*" or etag in [tag for prefix, tag in _TAG.findall(text) if weak or not prefix]


def _is_readable(text: str) -> bool:
    """Nothing but entity tags and commas."""
    return text.strip() == "*" or (bool(_TAG.search(text)) and not _TAG.sub("", text).strip(" \t,"))


def _date(headers: Headers, name: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(headers.get(name, ""))
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
