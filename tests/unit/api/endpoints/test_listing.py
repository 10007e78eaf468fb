"""GET /files and GET /receipts/{id}: pages by cursor, and the accounts of a file."""

import dataclasses
from typing import Any
from urllib.parse import quote

import pytest

from file.logic.values import FileState, Pending
from tests.files import digests_of
from tests.readers import Reader, receipt_of
from tests.unit.api.expectations import assert_problem

PENDING = Pending(account="B", bucket="bucket-b", object_key="k", code="account_unreachable", retryable=True)


@pytest.fixture
def reader(reader: Reader) -> Reader:
    """Five files without bytes; `b/2` is not everywhere yet."""
    for key in ("a", "b/1", "b/2", "b/3", "ü"):
        reader.records.add(receipt_of(key, key.encode(), [PENDING] if key == "b/2" else []))
    return reader


async def page(reader: Reader, query: str = "") -> tuple[list[str], str | None]:
    answer = await reader.get(f"/files{query}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    return [file["key"] for file in answer.json()["files"]], answer.json()["next"]


async def test_an_entry_has_everything_but_the_accounts_when_files_are_listed(reader: Reader) -> None:
    listed = (await reader.get("/files?prefix=b/2")).json()
    assert listed == {
        "files": [
            {
                "id": reader.records.receipts["b/2"].id,
                "key": "b/2",
                "name": "2",
                "size": 3,
                "type": "text/x-test; charset=utf-8",
                "sha256": digests_of(b"b/2").sha256.hex(),
                "status": "partial",
                "created_at": "2026-01-02T03:04:05.678Z",
                "stored_at": "2026-01-02T03:04:05.678Z",
            }
        ],
        "next": None,
    }


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 1000])
async def test_every_file_comes_once_when_pages_are_followed(reader: Reader, limit: int) -> None:
    pages = [await page(reader, f"?limit={limit}")]
    while (after := pages[-1][1]) is not None:
        pages.append(await page(reader, f"?limit={limit}&after={quote(after)}"))
    assert [key for keys, _ in pages for key in keys] == ["a", "b/1", "b/2", "b/3", "ü"]
    assert len(pages) == -(-5 // limit)


async def test_files_are_chosen_when_prefix_state_and_cursor_are_given(reader: Reader) -> None:
    assert await page(reader) == (["a", "b/1", "b/2", "b/3", "ü"], None)
    assert await page(reader, "?prefix=b/&limit=2") == (["b/1", "b/2"], "b/2")
    assert await page(reader, "?prefix=b%2F&after=b/2") == (["b/3"], None)
    assert await page(reader, "?prefix=%C3%BC") == (["ü"], None)
    assert await page(reader, "?state=partial") == (["b/2"], None)
    assert (await page(reader, "?state=stored&limit=3"))[0] == ["a", "b/1", "b/3"]
    assert await page(reader, "?prefix=&after=&limit=1") == (["a"], "a")
    assert await page(reader, "?prefix=nothing") == ([], None)
    assert {each["limit"] for each in reader.records.asked} == {101, 3, 4, 2}


@pytest.mark.parametrize(
    ("query", "named"),
    [
        *((f"limit={limit}", "limit") for limit in ("0", "-1", "", "%D9%A3", "99999999999999999999", "1&limit=2")),
        ("limit=1001", "1000"),
        ("state=receiving", "stored or partial"),
        ("state=", "state"),
        ("order=size", "prefix, after, limit, state"),
        ("Prefix=a", "prefix"),
        ("prefix=a&prefix=b", "more than once"),
    ],
)
async def test_the_listing_is_refused_when_it_is_asked_for_wrongly(reader: Reader, query: str, named: str) -> None:
    answer = await reader.get(f"/files?{query}")
    assert_problem(answer, 400, "listing_refused")
    assert named in answer.json()["detail"]
    assert reader.records.asked == []


async def test_the_receipt_has_every_account_when_it_is_asked_for(reader: Reader) -> None:
    receipt = await reader.store("k", b"content", into=reader.buckets[:1])
    blocked = Pending(account="C", bucket="bucket-c", object_key="k", code="access_refused", retryable=False)
    fresh = dataclasses.replace(PENDING, account="D", bucket="bucket-d", code=None)
    reader.records.add(dataclasses.replace(receipt, outcomes=(*receipt.outcomes, PENDING, blocked, fresh)))
    answer = await reader.get(f"/receipts/{receipt.id}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    stored = found["accounts"].pop("A")
    assert (stored["status"], stored["bucket"], stored["object_key"]) == ("stored", "bucket-a", "k")
    unreachable, refused = (
        {"code": "account_unreachable", "retryable": True},
        {"code": "access_refused", "retryable": False},
    )
    assert found["accounts"] == {
        "B": {"status": "pending", "bucket": "bucket-b", "error": unreachable},
        "C": {"status": "blocked", "bucket": "bucket-c", "error": refused},
        "D": {"status": "pending", "bucket": "bucket-d"},
    }
    assert found["status"] == FileState.PARTIAL
    assert (found["id"], found["key"], found["name"], found["size"]) == (receipt.id, "k", "k", 7)
    assert found["created_at"] == found["stored_at"] == "2026-01-02T03:04:05.678Z"


@pytest.mark.parametrize("file_id", ["0192a5f0-0000-7000-8000-000000000000", "x", "%00", "..%2ffiles", "a/b", ""])
async def test_there_is_no_receipt_when_no_file_has_the_id(reader: Reader, file_id: str) -> None:
    answer = await reader.get(f"/receipts/{file_id}")
    assert answer.status_code == 404
    assert answer.json()["code"] in ("file_not_found", "no_such_resource")
