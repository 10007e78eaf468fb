"""What an upload is told: the status of each receipt, and what a repeated one says."""

import json
from http import HTTPStatus
from typing import Any

import pytest

from file.api.responses import problem, receipt_response
from file.logic.errors import (
    AccountUnreachableError,
    BusyError,
    IdempotencyKeyBusyError,
    KeyBusyError,
    KeyOccupiedError,
    KeyTakenError,
    LedgerUnavailableError,
)
from file.logic.values import Failed, Outcome, Pending, Stored
from tests.readers import receipt_of

STORED = Stored(account="A", bucket="a", object_key="k", etag='"e"', version_id=None, request_id="r")
PENDING = Pending(account="B", bucket="b", object_key="k")
FAILED = Failed(account="B", bucket="b", object_key="k", error=AccountUnreachableError("B", "put"))
TAKEN = Failed(account="B", bucket="b", object_key="k", error=KeyOccupiedError("B", "put"))


def told(outcomes: list[Outcome], **changes: Any) -> tuple[int, str]:
    answer = receipt_response(receipt_of("k", b"content", outcomes, **changes))
    content = json.loads(bytes(answer.body))
    return answer.status_code, content.get("code") or content["status"]


@pytest.mark.parametrize(
    ("outcomes", "status", "word"),
    [
        ([STORED], 201, "stored"),
        ([STORED, PENDING], 202, "partial"),
        ([STORED, FAILED], 502, "accounts_failed"),
        ([STORED, TAKEN], 409, "key_taken"),
    ],
)
def test_the_status_says_what_became_of_the_file_when_an_upload_is_answered(
    outcomes: list[Outcome], status: int, word: str
) -> None:
    assert told(outcomes) == (status, word)


def test_the_answer_says_so_when_it_repeats_an_earlier_one() -> None:
    cases: list[tuple[list[Outcome], int]] = [([STORED], 201), ([STORED, PENDING], 202)]
    for outcomes, status in cases:
        receipt = receipt_of("k", b"content", outcomes, repeated=True)
        again = receipt_response(receipt)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (status, "true")
        same_key = receipt_response(receipt, repeated_status=HTTPStatus.OK)
        assert (same_key.status_code, same_key.headers["idempotent-replayed"]) == (200, "true")
    first = receipt_response(receipt_of("k", b"content", [STORED]), repeated_status=HTTPStatus.OK)
    assert first.status_code == 201
    assert "idempotent-replayed" not in first.headers


@pytest.mark.parametrize(
    ("error", "status", "comes_back"),
    [
        (KeyBusyError(), 409, True),
        (IdempotencyKeyBusyError(), 409, True),
        (KeyTakenError(), 409, False),
        (BusyError(), 503, True),
        (LedgerUnavailableError(), 503, True),
    ],
)
def test_the_client_is_told_when_to_come_back_when_waiting_helps(
    error: KeyTakenError, status: int, comes_back: bool
) -> None:
    answer = problem(error)
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == comes_back
