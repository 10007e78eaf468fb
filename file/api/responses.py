"""Receipts and errors become JSON and a status. Has the statuses of all errors; those in a head come from the server.

Errors are `application/problem+json` (RFC 9457) with a stable `code` (docs/errors.md). A receipt that was not
acknowledged is a problem, too, with the outcome of every account. The text of a foreign exception never gets here.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import orjson
from starlette.responses import Response

from file.logic import errors
from file.logic.values import (
    Erasure,
    ErasureOfAccount,
    Failed,
    FileState,
    Listed,
    Outcome,
    Pending,
    Receipt,
    ReplicaState,
    checksum_text,
)
from file.server.responses import STATUSES as STATUSES_OF_HEADS
from file.server.responses import problem_members

STATUSES: dict[type[errors.UploadError], HTTPStatus] = {
    **STATUSES_OF_HEADS,
    errors.NotMultipartError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.MalformedFormError: HTTPStatus.BAD_REQUEST,
    errors.FileMissingError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.FilenameMissingError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.FilenameRefusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.KeyRefusedError: HTTPStatus.BAD_REQUEST,
    errors.MetadataRefusedError: HTTPStatus.BAD_REQUEST,
    errors.HeaderRefusedError: HTTPStatus.BAD_REQUEST,
    errors.EncodingRefusedError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.ExpectationRefusedError: HTTPStatus.EXPECTATION_FAILED,
    errors.S3ApiMissingError: HTTPStatus.NOT_IMPLEMENTED,
    errors.DigestRefusedError: HTTPStatus.BAD_REQUEST,
    errors.RequestTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.FileTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.DigestMismatchError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.SizeMismatchError: HTTPStatus.BAD_REQUEST,
    errors.AckRefusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.AccountsRefusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ListingRefusedError: HTTPStatus.BAD_REQUEST,
    errors.KeyTakenError: HTTPStatus.CONFLICT,
    errors.KeyBusyError: HTTPStatus.CONFLICT,
    errors.IdempotencyKeyRefusedError: HTTPStatus.BAD_REQUEST,
    errors.IdempotencyKeyReusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.IdempotencyKeyBusyError: HTTPStatus.CONFLICT,
    errors.FileNotFoundHereError: HTTPStatus.NOT_FOUND,
    errors.RangeRefusedError: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    errors.ConditionFailedError: HTTPStatus.PRECONDITION_FAILED,
    errors.TokenMissingError: HTTPStatus.UNAUTHORIZED,
    errors.TokenRefusedError: HTTPStatus.UNAUTHORIZED,
    errors.HostRefusedError: HTTPStatus.MISDIRECTED_REQUEST,
    errors.OriginRefusedError: HTTPStatus.FORBIDDEN,
    errors.ReaderTooSlowError: HTTPStatus.REQUEST_TIMEOUT,
    errors.ClientGoneError: HTTPStatus.BAD_REQUEST,  # no client reads it; the log line needs a status
    errors.UnreadableError: HTTPStatus.BAD_GATEWAY,
    errors.BusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ShuttingDownError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.LedgerUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.LeaseLostError: HTTPStatus.SERVICE_UNAVAILABLE,
}
_RETRY_AFTER_SECONDS = 5


def problem(error: errors.UploadError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that could not be carried out."""
    status = STATUSES[type(error)]
    headers = dict(headers or {})
    members: dict[str, Any] = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE or (status == HTTPStatus.CONFLICT and error.retryable):
        headers["retry-after"] = str(_RETRY_AFTER_SECONDS)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="file upload"'
    if isinstance(error, errors.ConditionFailedError) and error.etag is not None:
        headers["etag"] = error.etag
    if isinstance(error, errors.UnreadableError):
        members["accounts"] = {each.account: {"error": error_json(each)} for each in error.errors}
    return problem_response(status, error.code, error.detail, retryable=error.retryable, headers=headers, **members)


def s3_error(error: errors.S3ApiMissingError, request_id: str) -> Response:
    """In S3's own form: clients for S3 cannot read another one."""
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NotImplemented</Code>'
        f"<Message>{escape(error.detail)}</Message><RequestId>{escape(request_id)}</RequestId></Error>\n"
    )
    return Response(xml, STATUSES[type(error)], {"x-amz-request-id": request_id}, "application/xml")


def problem_response(
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    retryable: bool = False,
    headers: dict[str, str] | None = None,
    **members: Any,
) -> Response:
    """`members` are further extension members (RFC 9457), besides those of `problem_members`."""
    content = problem_members(status, code, detail, retryable=retryable) | members
    return Response(_encode(content), status, headers, "application/problem+json")


def receipt_response(receipt: Receipt, *, repeated_status: HTTPStatus = HTTPStatus.CREATED) -> Response:
    """The answer to an upload.

    201 if every account has the file, 202 if some will follow; 409 if the key belongs to another file, or 502: then
    no account keeps the file. A receipt of an earlier upload has a header that says so, and may have another status.
    """
    if receipt.key_taken:
        taken = errors.KeyTakenError
        return problem_response(STATUSES[taken], taken.code, taken.message, accounts=_accounts(receipt))
    if not receipt.acknowledged:
        failed = [
            o for o in receipt.outcomes if isinstance(o, Failed) and not isinstance(o.error, errors.TakenBackError)
        ]
        names = ", ".join(outcome.account for outcome in failed)
        return problem_response(
            HTTPStatus.BAD_GATEWAY,
            "accounts_failed",
            f"Not stored: {names} failed; see `accounts`.",
            retryable=all(outcome.error.retryable for outcome in failed),
            id=receipt.id,
            key=receipt.key,
            accounts=_accounts(receipt),
        )
    status = HTTPStatus.CREATED if receipt.stored else HTTPStatus.ACCEPTED
    headers = {"location": url_of(receipt.key)}
    if receipt.repeated:
        headers["idempotent-replayed"] = "true"
        if repeated_status != HTTPStatus.CREATED:
            status = repeated_status
    return json_response(receipt_json(receipt), status, headers)


def url_of(key: str) -> str:
    """The path of the file on this service."""
    return f"/files/{quote(key)}"


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """An acknowledged file with its accounts. The times are there if the ledger was asked."""
    assert receipt.digests is not None  # the whole body was read
    times = {"created_at": receipt.created_at, "stored_at": receipt.stored_at}
    return {
        "id": receipt.id,
        "key": receipt.key,
        "url": url_of(receipt.key),
        "name": receipt.name,
        "size": receipt.digests.size,
        "type": receipt.content_type,
        **({"content_headers": dict(receipt.content_headers)} if receipt.content_headers else {}),
        "sha256": receipt.digests.sha256.hex(),
        "crc64nvme": checksum_text(receipt.digests.crc64nvme),
        "status": receipt.state.value,
        **{name: _moment(moment) for name, moment in times.items() if moment is not None},
        "accounts": _accounts(receipt),
    }


def listed(file: Listed) -> dict[str, Any]:
    return {
        "id": file.id,
        "key": file.key,
        "name": file.name,
        "size": file.size,
        "type": file.content_type,
        "sha256": file.sha256.hex(),
        "status": file.state.value,
        "created_at": _moment(file.created_at),
        "stored_at": _moment(file.stored_at),
    }


def erasure_json(erasure: Erasure) -> dict[str, Any]:
    """The progress of an erasure, per account; no content, name or key of the file."""
    times = {"created_at": erasure.created_at, "stored_at": erasure.stored_at, "erased_at": erasure.erased_at}
    return {
        "id": erasure.id,
        "key_hash": erasure.key_hash,
        "size": erasure.size,
        "status": (FileState.ERASED if erasure.is_done else FileState.ERASING).value,
        **{name: _moment(moment) for name, moment in times.items() if moment is not None},
        "accounts": {account.account: _erasure_of(account) for account in erasure.accounts},
    }


def _erasure_of(account: ErasureOfAccount) -> dict[str, Any]:
    members: dict[str, Any] = {"bucket": account.bucket}
    if account.strangers:
        members["strangers"] = account.strangers
    if account.erased_at is not None:
        return {"status": ReplicaState.ERASED.value, **members, "erased_at": _moment(account.erased_at)}
    if account.code is not None:
        members["error"] = {"code": account.code}
    return {"status": ReplicaState.ERASING.value, **members}


def json_response(
    content: Any, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(_encode(content), status, headers, "application/json")


def _accounts(receipt: Receipt) -> dict[str, Any]:
    return {outcome.account: _outcome(outcome) for outcome in receipt.outcomes}


def _outcome(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Failed):
        return {"status": outcome.removal.value, "bucket": outcome.bucket, "error": error_json(outcome.error)}
    if isinstance(outcome, Pending):
        state = ReplicaState.PENDING if outcome.retryable else ReplicaState.BLOCKED
        pending: dict[str, Any] = {"status": state.value, "bucket": outcome.bucket}
        if outcome.code is not None:
            pending["error"] = {"code": outcome.code, "retryable": outcome.retryable}
        return pending
    return {
        "status": "stored",
        "bucket": outcome.bucket,
        "object_key": outcome.object_key,
        "etag": outcome.etag,
        "version_id": outcome.version_id,
        "checked_by": outcome.checked_by,
        "request_id": outcome.request_id,
    }


def error_json(error: errors.AccountError) -> dict[str, Any]:
    return {"code": error.code, "detail": error.detail, "retryable": error.retryable}


def _moment(moment: datetime) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encode(content: Any) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
