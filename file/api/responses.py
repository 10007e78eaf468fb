"""Receipts and errors become JSON and a status. The only file that knows statuses.

Errors are `application/problem+json` (RFC 9457) with a stable `code` (docs/errors.md). A receipt in which an account
failed is a problem, too, with every account's outcome. No text of a foreign exception gets here.
"""

import json
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from file.logic import errors
from file.logic.values import Failed, Outcome, Receipt, checksum_text

STATUSES: dict[type[errors.UploadError], HTTPStatus] = {
    errors.NotMultipartError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.MalformedFormError: HTTPStatus.BAD_REQUEST,
    errors.MalformedRequestError: HTTPStatus.BAD_REQUEST,
    errors.FileMissingError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.FilenameMissingError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.FilenameRefusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.KeyRefusedError: HTTPStatus.BAD_REQUEST,
    errors.MetadataRefusedError: HTTPStatus.BAD_REQUEST,
    errors.DigestRefusedError: HTTPStatus.BAD_REQUEST,
    errors.RequestTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.FileTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.DigestMismatchError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.SizeMismatchError: HTTPStatus.BAD_REQUEST,
    errors.KeyTakenError: HTTPStatus.CONFLICT,
    errors.TokenMissingError: HTTPStatus.UNAUTHORIZED,
    errors.TokenRefusedError: HTTPStatus.UNAUTHORIZED,
    errors.ClientTooSlowError: HTTPStatus.REQUEST_TIMEOUT,
    errors.ClientGoneError: HTTPStatus.BAD_REQUEST,  # nobody reads it; the log line wants a status
    errors.BusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ShuttingDownError: HTTPStatus.SERVICE_UNAVAILABLE,
}
_RETRY_AFTER_SECONDS = 5


def problem(error: errors.UploadError) -> Response:
    """The answer to a request that could not be carried out."""
    status = STATUSES[type(error)]
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(_RETRY_AFTER_SECONDS)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="file upload"'
    return problem_response(status, error.code, error.detail, retryable=error.retryable, headers=headers)


def problem_response(
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    retryable: bool = False,
    headers: dict[str, str] | None = None,
    **members: Any,
) -> Response:
    """`members` are further extension members (RFC 9457). Retryable: the same request may succeed later."""
    content = {
        "type": f"urn:mentum:problem:{code}",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
        "retryable": retryable,
        **members,
    }
    return Response(_encode(content), status, headers, "application/problem+json")


def receipt_response(receipt: Receipt) -> Response:
    """201 if every account has the file; else 409 if the key is another's, or 502, and nothing of it is left."""
    accounts = {outcome.account: _outcome(outcome) for outcome in receipt.outcomes}
    failed = [o for o in receipt.outcomes if isinstance(o, Failed) and not isinstance(o.error, errors.TakenBackError)]
    if receipt.key_taken:
        taken = errors.KeyTakenError
        return problem_response(STATUSES[taken], taken.code, taken.message, accounts=accounts)
    if not receipt.stored:
        names = ", ".join(outcome.account for outcome in failed)
        return problem_response(
            HTTPStatus.BAD_GATEWAY,
            "accounts_failed",
            f"Not stored: {names} failed; see `accounts`.",
            retryable=all(outcome.error.retryable for outcome in failed),
            id=receipt.id,
            key=receipt.key,
            accounts=accounts,
        )
    assert receipt.digests is not None  # every account has it, so its end was seen
    content = {
        "id": receipt.id,
        "key": receipt.key,
        "name": receipt.name,
        "size": receipt.digests.size,
        "type": receipt.content_type,
        "sha256": receipt.digests.sha256.hex(),
        "crc64nvme": checksum_text(receipt.digests.crc64nvme),
        "status": "stored",
        "accounts": accounts,
    }
    return Response(_encode(content), HTTPStatus.CREATED, media_type="application/json")


def json_response(content: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(_encode(content), status, media_type="application/json")


def _outcome(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Failed):
        error = outcome.error
        return {
            "status": outcome.removal.value,
            "bucket": outcome.bucket,
            "error": {"code": error.code, "detail": error.detail, "retryable": error.retryable},
        }
    return {
        "status": "stored",
        "bucket": outcome.bucket,
        "object_key": outcome.object_key,
        "etag": outcome.etag,
        "version_id": outcome.version_id,
        "checked_by": outcome.checked_by,
        "request_id": outcome.request_id,
    }


def _encode(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"
