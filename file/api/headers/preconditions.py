"""Conditional requests and ranges (RFC 9110, 13 and 14): whether a file may be read, stored or erased, and which part.

A reader's header that cannot be read is ignored, as the RFC wants it: a malformed date or range, another unit. Several
ranges are ignored, too: the answer is the whole file. A condition of a change that cannot be read has failed: to ignore
it could destroy what it protects.
Promises of a change: its conditions are compared with the acknowledged file under the key before the first byte of the
body is read and before the key is claimed; and the file that was compared is the file that is touched. The ledger gets
its id, and a request that loses the key to another upload is compared once more, with the file that won.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from starlette.datastructures import Headers

from file.logic.errors import (
    ConditionFailedError,
    FileNotFoundHereError,
    KeyBusyError,
    KeyTakenError,
    RangeRefusedError,
)
from file.logic.values import IncomingFile, Receipt

Arriving = Callable[[], Awaitable[IncomingFile]]
FindFile = Callable[[str], Awaitable[Receipt | None]]  # the acknowledged file that has a key

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_OF_CHANGES = frozenset((b"if-match", b"if-none-match", b"if-unmodified-since"))
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Validators:
    """They identify one state of a file. `etag` is strong; `modified` counts in whole seconds."""

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


# --- reading


def is_unchanged(headers: Headers, validators: Validators) -> bool:
    """Whether the reader has the file already (304), by RFC 9110, 13.2.2. Raises `ConditionFailedError`."""
    modified = validators.modified.replace(microsecond=0)
    if (wanted := _joined(headers, "if-match")) is not None:
        if not _has(wanted, validators.etag, weak=False):
            raise ConditionFailedError("The header If-Match does not name this file.", etag=validators.etag)
    elif (since := _date(headers, "if-unmodified-since")) is not None and modified > since:
        raise ConditionFailedError("The file is newer than If-Unmodified-Since allows.", etag=validators.etag)
    if (known := _joined(headers, "if-none-match")) is not None:
        return _has(known, validators.etag, weak=True)
    since = _date(headers, "if-modified-since")
    return since is not None and modified <= since


def wanted_range(headers: Headers, validators: Validators, size: int) -> tuple[int, int] | None:
    """First byte and the byte after the last, or None for the whole file. Raises `RangeRefusedError`."""
    match = _RANGE.fullmatch(_joined(headers, "range") or "")
    if match is None or not _is_of_this_file(headers, validators):
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


# --- changes


def check_change(headers: Headers, validators: Validators | None) -> None:
    """Whether a file may be stored or erased where the key has the file with these validators, or no file.

    Raises `ConditionFailedError`.
    """
    if not _has_conditions(headers):
        return
    etag = None if validators is None else validators.etag
    for name in ("if-match", "if-none-match"):
        if (value := _joined(headers, name)) is not None and not _is_readable(value):
            raise ConditionFailedError(f"The header {name.title()} is neither * nor entity tags in quotes.", etag=etag)
    dates = set(headers.getlist("if-unmodified-since"))
    if dates and (len(dates) > 1 or _date(headers, "if-unmodified-since") is None):
        raise ConditionFailedError("The header If-Unmodified-Since is not one HTTP date.", etag=etag)
    if validators is None:
        if "if-match" in headers:
            raise ConditionFailedError("The header If-Match needs a file, and the key has none.")
        return
    if is_unchanged(headers, validators) and "if-none-match" in headers:
        raise ConditionFailedError("The key has a file that If-None-Match excludes.", etag=etag)


async def stored_under_conditions(
    file: IncomingFile,
    key: str,
    take: Callable[[Arriving], Awaitable[Receipt]],
    headers: Headers,
    find: FindFile,
) -> Receipt:
    """Have the upload taken, if the conditions of its request allow it. Raises `ConditionFailedError`.

    A request that is repeated with its Idempotency-Key gets the first answer, although the key has its own file by now.
    """

    async def allowed() -> IncomingFile:
        if not _has_conditions(headers):
            return file
        live = await find(key)
        try:
            _check(headers, live)
        except ConditionFailedError:
            if live is None or file.idempotency_key is None:
                raise
            return replace(file, expected_id=live.id)
        return replace(file, expected_id=live.id) if live is not None and "if-match" in headers else file

    try:
        receipt = await take(allowed)
    except KeyBusyError:
        raise  # it is not known yet which file the key will have
    except KeyTakenError:
        if _has_conditions(headers):
            _check(headers, await find(key))
        raise
    if receipt.repeated and file.idempotency_key is None:
        _check(headers, receipt)
    return receipt


async def file_to_erase(key: str, headers: Headers, find: FindFile) -> str | None:
    """The id of the only file that may be erased; None if the request has no conditions.

    Raises `ConditionFailedError`, `FileNotFoundHereError`.
    """
    if not _has_conditions(headers):
        return None
    live = await find(key)
    _check(headers, live)
    if live is None:
        raise FileNotFoundHereError
    return live.id


def _has_conditions(headers: Headers) -> bool:
    """Of a change; If-Modified-Since is for readers only (RFC 9110, 13.1.3)."""
    return any(name in _OF_CHANGES for name, _ in headers.raw)


def _check(headers: Headers, live: Receipt | None) -> None:
    check_change(headers, None if live is None else validators_of(live))


# --- what the headers say


def _is_of_this_file(headers: Headers, validators: Validators) -> bool:
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
    """Only entity tags and commas, or `*`."""
    return text.strip() == "*" or (bool(_TAG.search(text)) and not _TAG.sub("", text).strip(" \t,"))


def _date(headers: Headers, name: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(headers.get(name, ""))
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
