"""Upload-Ack, Upload-Accounts and Idempotency-Key: what is refused, and that it is before the first byte."""

import pytest

from tests.unit.api.expectations import Shared, assert_problem
from tests.unit.api.rawhttp import Answer, exchange, form_head, form_part, head, post_form, put

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def refused(shared: Shared, *fields: bytes) -> list[Answer]:
    """By both ways in, from a client that sends no byte of the body that it announces."""
    announced = "content-length: 100000"
    requests = (head("PUT", "/files/k", announced, *fields), form_head(announced, *fields))
    answers = [await exchange(shared, request) for request in requests]
    shared.assert_not_asked()
    shared.assert_nothing_left()
    return answers


@pytest.mark.parametrize("ack", ["4", "0", "-1", "01", "all,any", "most", "ALL", "", "1.5", "99999", "²", "any all"])
async def test_it_is_refused_early_when_the_ack_is_invalid(shared: Shared, ack: str) -> None:
    for answer in await refused(shared, b"upload-ack: " + ack.encode()):
        assert_problem(answer, 422, "ack_refused")


async def test_it_is_refused_when_the_header_comes_twice_and_differs(shared: Shared) -> None:
    for answer in await refused(shared, b"upload-ack: any", b"upload-ack: all"):
        assert_problem(answer, 422, "ack_refused")


@pytest.mark.parametrize("names", ["D", "A,D", "A,A", "", ",", "A,,B", "a", "A;B", "Ä", "A,B,C,"])
async def test_it_is_refused_early_when_the_accounts_are_not_ours(shared: Shared, names: str) -> None:
    for answer in await refused(shared, b"upload-accounts: " + names.encode()):
        assert_problem(answer, 422, "accounts_refused")
        assert "Ä" not in answer.body.decode()


@pytest.mark.parametrize(
    ("ack", "names", "code"),
    [
        ("2", "A", "ack_refused"),
        ("3", "A,B", "ack_refused"),
        ("2", "C", "ack_refused"),
        ("all", "X", "accounts_refused"),
    ],
)
async def test_it_is_refused_early_when_the_ack_cannot_be_met(shared: Shared, ack: str, names: str, code: str) -> None:
    for answer in await refused(shared, f"upload-ack: {ack}".encode(), f"upload-accounts: {names}".encode()):
        assert_problem(answer, 422, code)


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a\tb", "ä".encode()])
async def test_it_is_refused_early_when_the_idempotency_key_cannot_be_one(shared: Shared, key: bytes) -> None:
    for answer in await refused(shared, b"idempotency-key: " + key):
        assert_problem(answer, 400, "idempotency_key_refused")


async def test_it_is_refused_when_there_are_two_idempotency_keys(shared: Shared) -> None:
    for answer in await refused(shared, b"idempotency-key: a", b"idempotency-key: a"):
        assert_problem(answer, 400, "idempotency_key_refused")


@pytest.mark.parametrize("ack", ["all", "quorum", "any", "1", "3", " any "])
async def test_it_is_stored_by_both_ways_when_the_ack_can_be_met(shared: Shared, ack: str) -> None:
    fields = [f"upload-ack: {ack}", "upload-accounts: C , B,A"]
    shared.assert_stored(await put(shared, "k", b"x", *fields), b"x")
    shared.assert_stored(await post_form(shared, form_part("file", b"x", filename="y"), fields=fields), b"x")


async def test_the_names_of_several_headers_count_together_when_there_are_several(shared: Shared) -> None:
    answer = await put(shared, "k", b"x", "upload-accounts: A", "upload-accounts: C")
    assert (answer.status_code, sorted(answer.json()["accounts"])) == (201, ["A", "C"])
    assert [bool(bucket.objects) for bucket in shared.buckets] == [True, False, True]
