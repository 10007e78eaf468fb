"""GET and HEAD /files/{key}: the answer, and the line in the log."""

import base64
import dataclasses
import hashlib
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from file.logic.values import FILE_NAME
from testkit.memorybucket import PIECE, MemoryBucket
from tests.files import bytes_of
from tests.readers import LAST_MODIFIED, TOKEN, Reader, reading
from tests.unit.api.expectations import asked, assert_problem, three, until

CONTENT = bytes_of(2 * PIECE + 100)
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
SMALL = b"content"


async def test_get_and_head_describe_the_file_when_it_is_there(reader: Reader) -> None:
    metadata = {"colour": "blue", "Two-Words": "a b", FILE_NAME: "ours", "mentum-x": "ours", "odd": "a\r\nb", "ü": "é"}
    await reader.store("a/b c/r%C3%A9sum%C3%A9 1.txt", CONTENT)
    receipt = await reader.store("a/Grüße 1.txt", CONTENT, metadata={})
    reader.records.add(dataclasses.replace(receipt, metadata=metadata))
    answer = await reader.get("/files/a/Gr%C3%BC%C3%9Fe%201.txt")
    head = await reader.get("/files/a/Gr%C3%BC%C3%9Fe%201.txt", "HEAD")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    of_the_answer = ("date", "server", "x-request-id")
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    assert {name: value for name, value in answer.headers.items() if name not in of_the_answer} == {
        "content-type": "text/x-test; charset=utf-8",
        "content-length": str(len(CONTENT)),
        "accept-ranges": "bytes",
        "etag": ETAG,
        "last-modified": LAST_MODIFIED,
        "repr-digest": f"sha-256=:{digest}:",
        "content-disposition": "attachment; filename=\"Gr__e 1.txt\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%201.txt",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "cache-control": "private, no-cache",
        "x-amz-meta-colour": "blue",
        "x-amz-meta-two-words": "a b",
    }
    assert (head.status_code, head.content) == (200, b"")
    for name in ("date", "x-request-id"):
        answer.headers.pop(name, None)
        head.headers.pop(name, None)
    assert head.headers == answer.headers


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("plain.txt", "filename=\"plain.txt\"; filename*=UTF-8''plain.txt"),
        ('a"b\\c;d%e.txt', "filename=\"a_b_c;d_e.txt\"; filename*=UTF-8''a%22b%5Cc%3Bd%25e.txt"),
        ("a\r\nset-cookie: x", "filename=\"a__set-cookie_ x\"; filename*=UTF-8''a%0D%0Aset-cookie%3A%20x"),
        ("空.pdf", "filename=\"_.pdf\"; filename*=UTF-8''%E7%A9%BA.pdf"),
        ("'it''s'", "filename=\"'it''s'\"; filename*=UTF-8''%27it%27%27s%27"),
    ],
)
async def test_the_name_can_be_saved_when_a_header_cannot_carry_it(reader: Reader, name: str, disposition: str) -> None:
    await reader.store("k", SMALL, name=name)
    answer = await reader.get("/files/k")
    assert answer.headers["content-disposition"] == f"attachment; {disposition}"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_nothing_is_sent_when_the_file_is_empty(reader: Reader, method: str) -> None:
    await reader.store("k", b"")
    answer = await reader.get("/files/k", method)
    ranged = await reader.get("/files/k", Range="bytes=0-")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert_problem(ranged, 416, "range_refused")
    assert ranged.headers["content-range"] == "bytes */0"


@pytest.mark.parametrize(
    ("spelt", "key"),
    [
        *[("a%20b", "a b"), ("a+b", "a+b"), ("%C3%BC/%E7%A9%BA", "ü/空"), ("what%3Fnow%23then", "what?now#then")],
        *[("a//b", "a//b"), ("50%25", "50%"), ("a%2Fb", "a/b")],
    ],
)
async def test_the_file_is_found_when_its_key_is_awkward(reader: Reader, spelt: str, key: str) -> None:
    await reader.store(key, SMALL)
    assert (await reader.get(f"/files/{spelt}")).content == SMALL


@pytest.mark.parametrize("spelt", ["%ff", "%zz", "a%00b", "a%0Ab", "a/..%2fb", "k?versionId=1", ""])
async def test_the_request_is_refused_when_its_path_is_no_key(reader: Reader, spelt: str) -> None:
    await reader.store("k", SMALL)
    assert_problem(await reader.get(f"/files/{spelt}"), 400, "key_refused")


async def test_a_file_is_not_found_when_it_was_never_acknowledged(reader: Reader, buckets: list[MemoryBucket]) -> None:
    await reader.store("k", SMALL)
    reader.records.receipts.clear()
    assert_problem(await reader.get("/files/k"), 404, "file_not_found")
    assert (await reader.get("/files/k", "HEAD")).status_code == 404
    assert asked(buckets) == ""


async def test_all_methods_are_named_when_another_is_used(reader: Reader) -> None:
    answer = await reader.get("/files/k", "PATCH")
    assert_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}


async def test_the_log_line_says_who_read_what_from_where_when_a_file_was_read() -> None:
    async with reading(three(refuses_get=2), order=["B"]) as reader:
        receipt = await reader.store("k", CONTENT)
        with capture_logs() as logs:
            await reader.get("/files/k", Range="bytes=10-19")
            await until(lambda: any(line["event"] == "request" for line in logs))
        [line] = [line for line in logs if line["event"] == "request"]
        expected = {"who": "reader", "id": receipt.id, "key": "k", "account": "A", "sent": 10, "status": 206}
        assert expected.items() <= line.items()
        [failed] = [line for line in logs if line["event"] == "read_failed"]
        assert (failed["account"], failed["code"], failed["at"]) == ("B", "access_refused", 10)
        assert not any(TOKEN in repr(line) for line in logs)


async def test_last_modified_has_whole_seconds_when_the_file_was_stored_between_them(reader: Reader) -> None:
    receipt = await reader.store("k", SMALL)
    assert receipt.stored_at is not None
    reader.records.add(dataclasses.replace(receipt, stored_at=receipt.stored_at + timedelta(milliseconds=321)))
    answer = await reader.get("/files/k", If_Modified_Since=LAST_MODIFIED)
    assert (answer.status_code, answer.headers["last-modified"]) == (304, LAST_MODIFIED)
