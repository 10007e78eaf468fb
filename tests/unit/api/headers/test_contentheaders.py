"""Headers that change what the bytes mean: kept with the file and given back, or refused by name; never ignored."""

import gzip

import pytest

from file.logic.values import MAX_CONTENT_HEADERS_BYTES
from tests.unit.api.expectations import PART, Shared, assert_problem
from tests.unit.api.rawhttp import Answer, exchange, form_head, form_part, head, post_form, put

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL = gzip.compress(b"content" * 100, mtime=0)
LARGE = b"x" * (3 * PART + 1)
KEPT = {
    "content-encoding": "gzip",
    "content-language": "de, en-GB",
    "content-disposition": "inline; filename=\"a  b.txt\"; filename*=UTF-8''%C3%BC.txt",
    "cache-control": 'public, private="x, y", max-age=60',
    "expires": "Fri, 02 Jan 2026 03:04:05 GMT",
}
LINES = [f"{name}: {value}" for name, value in KEPT.items()]


async def get(shared: Shared, *fields: str, key: str = "k") -> Answer:
    return await exchange(shared, head("GET", f"/files/{key}", "connection: close", *fields))


def kept_in(shared: Shared, key: str = "k") -> list[dict[str, str]]:
    return [bucket.objects[key].content_headers for bucket in shared.buckets]


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_they_are_kept_and_given_back_when_a_put_has_them(shared: Shared, content: bytes) -> None:
    receipt = shared.assert_stored(await put(shared, "k", content, *LINES), content)
    assert receipt["content_headers"] == KEPT
    assert kept_in(shared) == [KEPT] * 3
    whole = await get(shared)
    assert (whole.status_code, whole.body) == (200, content)  # the stored bytes, not decoded
    part = await get(shared, "range: bytes=1-3")
    assert (part.status_code, part.body) == (206, content[1:4])
    for answer in (whole, part):
        assert {name: answer.headers.get(name) for name in KEPT} == KEPT
    asked = await exchange(shared, head("GET", f"/receipts/{receipt['id']}"))
    assert asked.json()["content_headers"] == KEPT


async def test_head_and_304_have_them_when_they_were_kept(shared: Shared) -> None:
    receipt = (await put(shared, "k", SMALL, *LINES)).json()
    async with shared.client() as client:
        answer = await client.head("/files/k")
        unchanged = await client.get("/files/k", headers={"if-none-match": f'"{receipt["sha256"]}"'})
    assert {name: answer.headers.get(name) for name in KEPT} == KEPT
    assert unchanged.status_code == 304
    of_caches = ("cache-control", "expires")
    assert {name: unchanged.headers.get(name) for name in of_caches} == {name: KEPT[name] for name in of_caches}
    assert "content-encoding" not in unchanged.headers


async def test_a_file_is_one_to_save_and_not_to_cache_when_nothing_else_was_sent(shared: Shared) -> None:
    receipt = (await put(shared, "k", SMALL, "content-encoding:", "content-language: ,")).json()
    assert "content_headers" not in receipt
    assert kept_in(shared) == [{}] * 3
    headers = (await get(shared)).headers
    assert headers["content-disposition"] == "attachment; filename=\"k\"; filename*=UTF-8''k"
    assert headers["cache-control"] == "private, no-cache"
    assert headers.keys().isdisjoint({"content-encoding", "content-language", "expires"})


async def test_the_date_counts_when_only_expires_was_sent(shared: Shared) -> None:
    await put(shared, "k", SMALL, f"expires: {KEPT['expires']}")
    headers = (await get(shared)).headers
    assert (headers["expires"], headers["cache-control"]) == (KEPT["expires"], "private")


@pytest.mark.parametrize("sent", ["inline", "attachment", 'inline; filename="page.html"'])
async def test_a_file_is_no_page_of_ours_when_it_is_to_be_shown(shared: Shared, sent: str) -> None:
    """It has the origin of the admin's pages: no script, no form, nothing of that origin."""
    page = b"<script>alert(document.cookie)</script>"
    await put(shared, "k", page, "content-type: text/html", f"content-disposition: {sent}")
    headers = (await get(shared)).headers
    assert (headers["content-disposition"], headers["content-type"]) == (sent, "text/html")
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["x-content-type-options"] == "nosniff"


async def test_lines_are_one_list_when_a_list_comes_in_several(shared: Shared) -> None:
    lines = ["content-encoding: br", "Content-Encoding:  gzip,,", "content-language: de", "content-language: en"]
    answer = await put(shared, "k", SMALL, *lines, "cache-control: private", "cache-control: no-store")
    kept = {"content-encoding": "br, gzip", "content-language": "de, en", "cache-control": "private, no-store"}
    assert answer.json()["content_headers"] == kept


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([f"content-disposition: inline; filename={'x' * MAX_CONTENT_HEADERS_BYTES}"], ["Content-Disposition", "1536"]),
        ([f"cache-control: {'x' * 800}", f"content-language: {'x' * 700}"], ["Cache-Control", "1536"]),
        (['content-disposition: inline; filename="ü.txt"'], ["Content-Disposition", "printable ASCII", "filename*"]),
        (["cache-control: a\tb"], ["Cache-Control", "printable ASCII"]),
        (["content-disposition: inline", "content-disposition: attachment"], ["Content-Disposition", "more than once"]),
        (["expires: Fri, 02 Jan 2026 03:04:05 GMT"] * 2, ["Expires", "more than once"]),
        (["expires: 0"], ["Expires", "date"]),
        (["content-encoding: gzip; level=9"], ["Content-Encoding", "list of words"]),
        (["content-language: de;q=1"], ["Content-Language", "list of words"]),
        (['content-disposition: filename="x"'], ["Content-Disposition", "attachment"]),
        (["content-type: no type"], ["Content-Type", "slash"]),
        (["content-type: text/ü"], ["Content-Type", "ASCII"]),
        ([f"content-type: text/plain; x={'x' * 255}"], ["Content-Type", "255"]),
        (["content-type: text/plain", "content-type: text/html"], ["Content-Type", "more than once"]),
    ],
)
async def test_a_header_is_refused_when_stores_may_change_it(
    shared: Shared, lines: list[str], words: list[str]
) -> None:
    answer = await put(shared, "k", SMALL, *lines)
    assert_problem(answer, 400, "header_refused")
    assert all(word in answer.json()["detail"] for word in words), answer.json()
    shared.assert_nothing_left()


async def test_the_longest_headers_are_kept_when_they_are_within_the_limit(shared: Shared) -> None:
    name, kind = "content-disposition", "text/plain"
    value = "inline; filename="
    value += "x" * (MAX_CONTENT_HEADERS_BYTES - len(f"content-type{kind}{name}{value}"))
    lines = [f"content-type: {kind}", f"{name}: {value}"]
    assert (await put(shared, "k", SMALL, *lines)).status_code == 201
    assert kept_in(shared) == [{name: value}] * 3
    assert_problem(await put(shared, "m", SMALL, f"{lines[0]}x", lines[1]), 400, "header_refused")


@pytest.mark.parametrize(
    "line",
    [
        *["content-encoding: aws-chunked", "Content-Encoding: gzip, AWS-chunked", "content-transfer-encoding: base64"],
        *["x-amz-decoded-content-length: 5", "x-amz-trailer: x-amz-checksum-crc32"],
        "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "content-transfer-encoding: Quoted-Printable",
    ],
)
async def test_the_body_is_refused_when_it_is_not_the_files_own_bytes(shared: Shared, line: str) -> None:
    answer = await put(shared, "k", b"5;chunk-signature=0\r\nhello\r\n", line)
    assert_problem(answer, 415, "encoding_refused")
    detail = answer.json()["detail"]
    assert line.partition(":")[0].lower() in detail.lower()
    assert "Send the plain body" in detail or "send the bytes" in detail
    assert_problem(await exchange(shared, form_head("content-length: 100000", line)), 415, "encoding_refused")
    shared.assert_nothing_left()


@pytest.mark.parametrize(
    "name",
    [
        *["x-amz-copy-source", "x-amz-copy-source-range", "x-amz-acl", "x-amz-grant-read"],
        *["x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-key", "x-amz-storage-class"],
        *["x-amz-tagging", "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"],
        *["x-amz-website-redirect-location", "x-amz-expected-bucket-owner", "x-amz-write-offset-bytes", "x-amz-new"],
    ],
)
async def test_a_header_of_s3_is_refused_by_name_when_it_would_be_ignored(shared: Shared, name: str) -> None:
    for request in (
        head("PUT", "/files/k", f"{name}: something"),
        form_head("content-length: 9", f"{name}: something"),
    ):
        answer = await exchange(shared, request)
        assert_problem(answer, 400, "header_refused")
        assert name in answer.json()["detail"]
        assert "something" not in answer.json()["detail"]
    shared.assert_nothing_left()


@pytest.mark.parametrize(
    "line",
    [
        *["x-amz-date: 20260102T030405Z", "x-amz-user-agent: aws-sdk-js/3", "x-amz-security-token: t"],
        *["x-amz-content-sha256: UNSIGNED-PAYLOAD", "x-amz-cf-id: of-cloudfront", "x-amzn-trace-id: Root=1"],
        *["content-transfer-encoding: binary", "content-location: /elsewhere", "pragma: no-cache"],
    ],
)
async def test_the_file_is_stored_when_a_header_says_nothing_of_its_bytes(shared: Shared, line: str) -> None:
    assert (await put(shared, "k", SMALL, line)).status_code == 201


async def test_a_key_is_taken_when_the_same_bytes_come_with_another_meaning(shared: Shared) -> None:
    first = ["content-type: text/plain", "content-encoding: gzip"]
    assert (await put(shared, "k", SMALL, *first)).status_code == 201
    assert (await put(shared, "k", SMALL, *first)).status_code == 200
    for other in ([first[0]], [first[1]], [*first, "cache-control: no-store"]):
        answer = await put(shared, "k", SMALL, *other)
        assert_problem(answer, 409, "key_taken")
        assert "Content-Type" in answer.json()["detail"]
    once = "idempotency-key: once"
    assert (await put(shared, "m", SMALL, *first, once)).status_code == 201
    assert (await put(shared, "m", SMALL, *first, once)).status_code == 201
    assert_problem(await put(shared, "m", SMALL, once), 422, "idempotency_key_reused")
    assert kept_in(shared, "m") == [{"content-encoding": "gzip"}] * 3
    shared.assert_no_memory_held()


def file_part(*lines: str) -> bytes:
    headers = "".join(f"\r\n{line}" for line in lines).encode() + b"\r\n\r\n"
    return form_part("file", SMALL, filename="f.txt").replace(b"\r\n\r\n", headers, 1)


async def test_they_are_kept_when_the_forms_file_has_them(shared: Shared) -> None:
    languages = ("Content-Language: de", "content-language: en")
    part = file_part("content-type: text/plain", "content-encoding: gzip", *languages)
    # Cache-Control belongs to the request (RFC 9111, 5.2.1).
    receipt = shared.assert_stored(await post_form(shared, part, fields=["cache-control: no-cache"]), SMALL)
    assert receipt["content_headers"] == {"content-encoding": "gzip", "content-language": "de, en"}
    assert kept_in(shared, receipt["key"]) == [receipt["content_headers"]] * 3
    read = await get(shared, key=receipt["key"])
    assert (read.body, read.headers["content-encoding"]) == (SMALL, "gzip")
    assert read.headers["content-disposition"].startswith("attachment; ")  # not the form's own


@pytest.mark.parametrize(
    ("of_file", "of_request", "status", "code"),
    [
        (["content-encoding: aws-chunked"], [], 415, "encoding_refused"),
        (["content-encoding: gzip;q=1"], [], 400, "header_refused"),
        (["content-type: no type"], [], 400, "header_refused"),
        # These only a file can have.
        ([], ["content-encoding: gzip"], 415, "encoding_refused"),
        ([], ["content-range: bytes 0-4/10"], 400, "malformed_request"),
        ([], ["x-amz-meta-colour: blue"], 400, "header_refused"),
    ],
)
async def test_the_form_is_refused_when_a_header_cannot_be_kept(
    shared: Shared, of_file: list[str], of_request: list[str], status: int, code: str
) -> None:
    assert_problem(await post_form(shared, file_part(*of_file), fields=of_request), status, code)
    shared.assert_nothing_left()
