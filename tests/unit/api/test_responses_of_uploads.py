"""The answer to an upload: the status of each receipt, and of a repeated one."""

import json
from http import HTTPStatus

import pytest

from file.api.responses import problem, receipt_response
from file.logic import errors
from file.logic.values import Failed, Outcome, Pending, Stored
from tests.readers import receipt_of

STORED = Stored(account="A", bucket="a", object_key="k", etag='"e"', version_id=None, request_id="r")
PENDING = Pending(account="B", bucket="b", object_key="k")
FAILED = Failed(account="B", bucket="b", object_key="k", error=errors.AccountUnreachableError("B", "put"))
TAKEN = Failed(account="B", bucket="b", object_key="k", error=errors.KeyOccupiedError("B", "put"))


@pytest.mark.parametrize(
    ("outcomes", "status", "word"),
    [
        ([STORED], 201, "stored"),
        ([STORED, PENDING], 202, "partial"),
        ([STORED, FAILED], 502, "accounts_failed"),
        ([STORED, TAKEN], 409, "key_taken"),
    ],
)
def test_the_outcomes_decide_when_an_upload_is_answered(outcomes: list[Outcome], status: int, word: str) -> None:
    answer = receipt_response(receipt_of("k", b"content", outcomes), repeated_status=HTTPStatus.OK)
    content = json.loads(bytes(answer.body))
    assert (answer.status_code, content.get("code") or content["status"]) == (status, word)
    assert "idempotent-replayed" not in answer.headers


@pytest.mark.parametrize(("outcomes", "status"), [([STORED], 201), ([STORED, PENDING], 202)])
def test_the_answer_says_so_when_it_repeats_an_earlier_one(outcomes: list[Outcome], status: int) -> None:
    receipt = receipt_of("k", b"content", outcomes, repeated=True)
    again = receipt_response(receipt)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (status, "true")
    same_key = receipt_response(receipt, repeated_status=HTTPStatus.OK)
    assert (same_key.status_code, same_key.headers["idempotent-replayed"]) == (200, "true")


@pytest.mark.parametrize(
    ("error", "status", "comes_back"),
    [
        (errors.KeyBusyError(), 409, True),
        (errors.IdempotencyKeyBusyError(), 409, True),
        (errors.KeyTakenError(), 409, False),
        (errors.BusyError(), 503, True),
        (errors.LedgerUnavailableError(), 503, True),
    ],
)
def test_the_answer_has_retry_after_when_waiting_helps(
    error: errors.UploadError, status: int, comes_back: bool
) -> None:
    answer = problem(error)
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == comes_back
