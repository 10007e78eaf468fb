"""The checks of a check-up: the table `CHECKS`, and its questions.

A question sends requests like the service and compares the answers. It raises `DeniedError`, another `AccountError`, or
`WrongAnswerError` for an incorrect answer; or it returns a text about what works but needs attention. Later questions
use what earlier ones made. The policy in docs/operations.md has exactly the actions of this table.
Leaves to others: which questions are asked, and the results (`checkup.py`).
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from awscrt.checksums import crc64nvme

from file.accounts.checkup.probe import BODY, NO_VERSION, OTHER_BODY, DeniedError, Probe
from file.logic.errors import AccountError, UploadError
from file.logic.values import Account, checksum_text
from file.s3 import calls
from file.s3.calls import CHECKSUM, Call
from file.s3.client import Answer
from file.s3.errors import account_error
from file.s3.xml import objects, parse_error

LIST, LIST_VERSIONS, LIST_UPLOADS = "s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"
PUT, GET, GET_VERSION = "s3:PutObject", "s3:GetObject", "s3:GetObjectVersion"
LIST_PARTS, ABORT = "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"
DELETE, DELETE_VERSION = "s3:DeleteObject", "s3:DeleteObjectVersion"
ENCRYPT, DECRYPT = "kms:GenerateDataKey", "kms:Decrypt"
OF_THE_BUCKET = (LIST, LIST_VERSIONS, LIST_UPLOADS)  # the others are of its objects, or of a key

METADATA_LOST = (
    "it does not give back the metadata (x-amz-meta-*) of an object, or something before it takes them away: "
    "the service could not tell its own objects from those of others, and could not remove them"
)
_DAMAGED_CODES = ("BadDigest", "XAmzContentChecksumMismatch")
_JOINED = "-joined"
_KEEPS_VERSIONS = 'it keeps versions: remove "versions": false'
_UNCONDITIONAL = 'it ignores the condition If-None-Match: set "conditional_writes": false'
_UNCHECKED = 'it takes bytes that are not those of their CRC64NVME: set "checksums": false'
_UNCHECKED_MD5 = "it takes bytes that are not those of their Content-MD5: what is damaged on the way would be stored"

Question = Callable[[Probe], Awaitable[str | None]]


class WrongAnswerError(UploadError):
    """S3 allowed the request, but its answer is wrong. `detail`: how. `cure`: the option to switch off."""

    def __init__(self, text: str, *, cure: str | None = None) -> None:
        self.cure = cure
        super().__init__(text)


def is_encrypted(account: Account) -> bool:
    """With a key that has its own permissions."""
    return (account.server_side_encryption or "").startswith("aws:kms")


# --- one put


async def _put(probe: Probe) -> None:
    try:
        await probe.put()
    except DeniedError as error:
        if error.action is None and is_encrypted(probe.account):
            await probe.put("-plain", plain=True)  # raises if it is not the key that is denied
            error.action = ENCRYPT
        raise


async def _head(probe: Probe) -> str | None:
    try:
        return await _look(probe)
    except DeniedError as error:
        if is_encrypted(probe.account) and probe.account.checksums:
            await probe.ask(calls.head(probe.key, tolerate=()))  # only the checksum needs the key
            error.action = DECRYPT
        raise


async def _head_of_nothing(probe: Probe) -> None:
    if (await probe.ask(calls.head(f"{probe.key}-nothing"))).status != 404:
        raise WrongAnswerError("it shows an object where there is none")


async def _head_of_a_version(probe: Probe) -> None:
    if probe.account.versions:
        await probe.ask(calls.head(probe.key, version_id=probe.version(), tolerate=()))
    else:
        await _has_no_version(probe)


async def _get(probe: Probe) -> None:
    answer = await probe.ask(Call("get", "GET", probe.key))
    if answer.body != BODY:
        raise WrongAnswerError("it gives other bytes than were stored")


async def _list_objects(probe: Probe) -> str | None:
    call = Call("list_objects", "GET", None, query=[("list-type", "2"), ("prefix", probe.key)])
    return _unlisted(probe, probe.client.understood("list_objects", objects, await probe.ask(call)).entries)


async def _list_versions(probe: Probe) -> str | None:
    if probe.account.versions:
        return _unlisted(probe, [version.key for version in await probe.list_versions()])
    if probe.is_put:
        await _has_no_version(probe)
    listed = []
    with suppress(AccountError):
        listed = await probe.list_versions()
    if any(version.is_delete_marker or version.version_id not in (None, NO_VERSION) for version in listed):
        raise WrongAnswerError(_KEEPS_VERSIONS)
    return None


async def _conditional_put(probe: Probe) -> None:
    answer = await probe.put(body=OTHER_BODY, tolerate=(412, 501))
    if answer.status != 412:
        raise WrongAnswerError(_UNCONDITIONAL, cure="conditional_writes")


async def _damaged_put(probe: Probe) -> None:
    answer = await probe.put("-damaged", body=OTHER_BODY, announced=BODY, tolerate=(400,))
    _is_refused_as_damaged(probe, "put", answer)


# --- parts


async def _begin(probe: Probe) -> None:
    probe.upload = await probe.begin()


async def _send(probe: Probe) -> None:
    await probe.send(probe.upload)


async def _list_parts(probe: Probe) -> None:
    await probe.ask(calls.list_parts(probe.key, probe.upload, tolerate=()))


async def _list_uploads(probe: Probe) -> str | None:
    listed = [upload.upload_id for upload in await probe.list_uploads()]
    if probe.upload and probe.upload not in listed:
        return "it does not list an upload that is open: one whose id got lost cannot be ended"
    return None


async def _conditional_complete(probe: Probe) -> None:
    """Under the key of the put."""
    answer = await probe.complete(probe.upload, tolerate=(412, 501))
    if answer.status != 412:
        raise WrongAnswerError(_UNCONDITIONAL, cure="conditional_writes")


async def _abort(probe: Probe) -> None:
    await probe.abort(probe.upload)


async def _complete(probe: Probe) -> str | None:
    upload = await probe.begin(_JOINED)
    await probe.send(upload)
    await probe.complete(upload)
    try:
        warning = await _look(probe, _JOINED)
    except DeniedError:
        return None  # `head` reports it
    if probe.loses_metadata:
        raise WrongAnswerError(METADATA_LOST)
    return warning


async def _damaged_complete(probe: Probe) -> None:
    upload = await probe.begin("-damaged-joined")
    await probe.send(upload)
    try:
        answer = await probe.complete(upload, announced=OTHER_BODY, tolerate=(400,))
    except AccountError as error:  # the error came inside a 200
        if error.s3_code in _DAMAGED_CODES:
            return
        raise
    _is_refused_as_damaged(probe, "complete", answer)


# --- deletes


async def _delete_of_a_version(probe: Probe) -> None:
    if probe.account.versions:
        await probe.delete(probe.key, probe.version())
        return
    if probe.is_put:
        await _has_no_version(probe)
    await probe.delete(probe.key)


async def _delete(probe: Probe) -> None:
    await probe.delete(probe.key + _JOINED)


# --- what several of them do


async def _look(probe: Probe, tail: str = "") -> str | None:
    """The service needs this answer to find and verify its files."""
    answer = await probe.ask(calls.head(probe.key + tail, checksum=probe.account.checksums, tolerate=()))
    probe.client.etag_of("head", answer)
    probe.loses_metadata |= not probe.is_marked(answer)
    if answer.headers.get("content-length") != str(len(BODY)):
        raise WrongAnswerError("it shows another size than was stored")
    if not probe.account.checksums:
        return None
    shown = answer.headers.get(CHECKSUM)
    if shown is None:
        return "it does not show the CRC64NVME of an object: `verify` compares its size only, or reads it"
    if shown != checksum_text(crc64nvme(BODY)):
        text = 'it shows another CRC64NVME than that of the whole object: set "checksums": false'
        raise WrongAnswerError(text, cure="checksums")
    return None


async def _has_no_version(probe: Probe) -> None:
    """Raises `WrongAnswerError` if the object has a version."""
    answer = await probe.ask(calls.head(probe.key, tolerate=()))
    if answer.headers.get("x-amz-version-id", NO_VERSION) != NO_VERSION:
        raise WrongAnswerError(_KEEPS_VERSIONS)


def _unlisted(probe: Probe, keys: Sequence[str]) -> str | None:
    if probe.is_put and probe.key not in keys:
        return "it does not list an object under its own key"
    return None


def _is_refused_as_damaged(probe: Probe, operation: str, answer: Answer) -> None:
    """Raises if it is accepted."""
    if answer.status != 400:
        if not probe.account.checksums:
            raise WrongAnswerError(_UNCHECKED_MD5)
        raise WrongAnswerError(_UNCHECKED, cure="checksums")
    code = parse_error(answer.body).code
    if code not in _DAMAGED_CODES:
        raise account_error(probe.account, operation, 400, code)


# --- the table


@dataclass(frozen=True, slots=True)
class Check:
    """`name`: as it is shown. `ask`: its question; None if the first answer or the end shows the result.

    `needs`: the checks that must have passed before. `action`: the IAM action that it needs, followed by `why` in the
    text. `unless`: the option in the account's JSON that switches it off. `without`: the options that may be switched
    off for a store that refuses it. `like`: a check that needs the same action of S3: if that one passed and this one
    is denied, the encryption key denies it. `required`: a store that does not support it cannot be used.
    """

    name: str
    ask: Question | None = None
    needs: tuple[str, ...] = ()
    action: str | None = None
    unless: str = ""
    without: tuple[str, ...] = ()
    like: str = ""
    required: bool = False
    why: str = ""


_SUMS, _CONDITIONS, _VERSIONS = "checksums", "conditional_writes", "versions"
_NO_404 = ": without it an object that is not there is a 403 and not a 404"
_LOCK = "; where that is allowed, an object lock keeps what was written"

# In the order in which they are asked and shown.
CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        Check("reached"),
        Check("clock"),
        Check("region"),
        Check("credentials"),
        Check("bucket"),
        Check("owner"),
        Check("put", _put, action=PUT, without=(_SUMS, _CONDITIONS)),
        Check("head", _head, ("put",), GET, without=(_SUMS,)),
        Check("head of nothing", _head_of_nothing, ("head",), LIST, why=_NO_404),
        Check("head of a version", _head_of_a_version, ("put",), GET_VERSION, without=(_VERSIONS,)),
        Check("get", _get, ("put",), GET, like="head"),
        Check("list objects", _list_objects, action=LIST),
        Check("list versions", _list_versions, action=LIST_VERSIONS, without=(_VERSIONS,)),
        Check("conditional put", _conditional_put, ("put",), PUT, unless=_CONDITIONS),
        Check("checksum of a put", _damaged_put, ("put",), PUT, without=(_SUMS,)),
        Check("begin", _begin, action=PUT, like="put", without=(_SUMS,)),
        Check("part", _send, ("begin",), PUT, like="put", without=(_SUMS,)),
        Check("list parts", _list_parts, ("begin",), LIST_PARTS, required=True),
        Check("list uploads", _list_uploads, action=LIST_UPLOADS, required=True),
        Check("conditional complete", _conditional_complete, ("put", "part"), PUT, unless=_CONDITIONS),
        Check("abort", _abort, ("begin",), ABORT, required=True),
        Check("complete", _complete, ("part",), PUT, like="put", without=(_SUMS, _CONDITIONS)),
        Check("checksum of a complete", _damaged_complete, ("complete",), PUT, unless=_SUMS),
        Check("delete of a version", _delete_of_a_version, action=DELETE_VERSION, without=(_VERSIONS,), why=_LOCK),
        Check("delete", _delete, action=DELETE),
        Check("taken back"),
    )
}
ACTIONS = frozenset(check.action for check in CHECKS.values() if check.action) | {ENCRYPT, DECRYPT}
