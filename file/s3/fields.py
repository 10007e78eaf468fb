"""The form and the maximum length of each value from a store's answers that is kept or shown.

Values of a store go into receipts, the ledger, logs and our next requests. So a value is accepted only if it has the
form of S3's values, and never if it contains a part of a secret: a store that reflects our headers would put a session
token or a signature into all of them. Pure.
Leaves to others: what to do without a value that was not accepted.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from file.logic.values import CONTENT_HEADERS, MAX_CONTENT_HEADERS_BYTES, MAX_KEY_BYTES, Account, KiB

METADATA = "x-amz-meta-"
MAX_SKEW = timedelta(days=7)  # a clock that is further off is not followed
# Of all metadata of an object. S3 takes 2 KiB of them; some stores take more.
MAX_TOLD_METADATA_BYTES = 8 * KiB
MAX_LISTED_KEY_BYTES = 4 * MAX_KEY_BYTES  # S3 takes keys of 1,024 bytes; some stores take longer ones
_MAX_DATE = 64
_SECRET_CHARACTERS = 16  # a shorter one may be in other words by chance
# Within these, every sum of moments that we make is a moment, too.
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

_WORD, _LINE = r"[\x21-\x7e]", r"[\t\x20-\x7e]"
_METADATA_VALUE = re.compile(rf"{_LINE}{{0,{2 * KiB}}}")
_METADATA_NAME = re.compile(rf"{METADATA}{_WORD}{{1,256}}")
_CONTENT = rf"{_LINE}{{1,{MAX_CONTENT_HEADERS_BYTES}}}"
UPLOAD_ID = re.compile(rf"{_WORD}{{1,2048}}")  # AWS: some 130 characters
VERSION_ID = re.compile(rf"{_WORD}{{1,1024}}")  # S3's own limit
ETAG = re.compile(rf"{_WORD}{{1,256}}")
CHECKSUM = re.compile(rf"{_WORD}{{1,64}}")
CODE = re.compile(r"[A-Za-z][A-Za-z0-9.]{0,63}")  # for example XAmzContentSHA256Mismatch
REGION = re.compile(r"[A-Za-z0-9-]{1,32}")
HEADERS = {
    "etag": ETAG,
    "x-amz-version-id": VERSION_ID,
    "x-amz-request-id": re.compile(r"[A-Za-z0-9._:/+=~-]{1,128}"),
    "x-amz-checksum-crc64nvme": CHECKSUM,
    "x-amz-bucket-region": REGION,
    "x-amz-delete-marker": re.compile(r"[A-Za-z]{1,8}"),
    "x-amz-object-lock-mode": CHECKSUM,
    "x-amz-object-lock-legal-hold": CHECKSUM,
    "x-amz-object-lock-retain-until-date": CHECKSUM,
    "date": re.compile(rf"{_LINE}{{1,{_MAX_DATE}}}"),
    "last-modified": re.compile(rf"{_LINE}{{1,{_MAX_DATE}}}"),
    "content-length": re.compile(r"[0-9]{1,16}"),
    "content-range": re.compile(r"bytes [0-9]{1,16}-[0-9]{1,16}/[0-9]{1,16}"),
    **{name: re.compile(_CONTENT) for name in ("content-type", *CONTENT_HEADERS)},
}
# Without these it is not known what was stored: an answer in which one is not as S3's are is not S3's.
NEEDED = ("etag", "x-amz-version-id")


class Secrets:
    """The secrets of an account's signatures. The access key's id is no secret: each signed link has it."""

    __slots__ = ("_known",)

    def __init__(self, account: Account) -> None:
        known = (account.secret_access_key, account.session_token)
        self._known = tuple(secret for secret in known if secret is not None and len(secret) >= _SECRET_CHARACTERS)

    def __repr__(self) -> str:
        return "Secrets()"

    def are_in(self, text: str, signature: str = "") -> bool:
        """Whether `text` contains a secret or the request's `signature`, or is a part of a secret."""
        if signature and signature in text:
            return True
        for secret in self._known:  # noqa: SIM110 - `any` takes twice the time, a dozen times per upload
            if secret in text or (len(text) >= _SECRET_CHARACTERS and text in secret):
                return True
        return False


def taken(
    names: Iterable[str], value_of: Callable[[str], str | None], secrets: Secrets, signature: str
) -> tuple[dict[str, str], bool, bool]:
    """Returns the known headers with valid values, whether a required header is not valid, and whether there is
    metadata, accepted or not.

    `value_of` raises `ValueError` for a value that is not ASCII.
    """
    headers: dict[str, str] = {}
    unfit = shows_metadata = False
    metadata = 0
    for name in names:
        is_metadata = name.startswith(METADATA)
        shows_metadata |= is_metadata
        try:
            value = value_of(name)
        except ValueError:
            unfit |= name in NEEDED
            continue
        if value is None or name in headers:
            continue
        if is_metadata:
            metadata += len(name) + len(value)
            fits = metadata <= MAX_TOLD_METADATA_BYTES and _is_metadata(name, value)
        elif value and (pattern := HEADERS.get(name)) is not None:
            fits = pattern.fullmatch(value) is not None
        else:
            continue
        if fits and not secrets.are_in(value, signature):
            headers[name] = value
        else:
            unfit |= name in NEEDED
    return headers, unfit, shows_metadata


def _is_metadata(name: str, value: str) -> bool:
    return _METADATA_NAME.fullmatch(name) is not None and _METADATA_VALUE.fullmatch(value) is not None


def is_key(key: str) -> bool:
    """Whether any object can have this key, also one that is not ours."""
    return 0 < len(key) <= MAX_LISTED_KEY_BYTES and len(key.encode(errors="replace")) <= MAX_LISTED_KEY_BYTES


def moment_of_header(text: str) -> datetime | None:
    """The moment in `Date` or `Last-Modified`; None if the text is no date, or an impossible one."""
    if len(text) > _MAX_DATE:
        return None
    try:
        return _possible(parsedate_to_datetime(text))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def moment_of_listing(text: str | None) -> datetime | None:
    """The moment in an element of a listing; None if the text is no date, or an impossible one."""
    if text is None or len(text) > _MAX_DATE:
        return None
    try:
        return _possible(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _possible(moment: datetime) -> datetime | None:
    """In UTC, also if it has no zone."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment if _EARLIEST <= moment < _LATEST else None
