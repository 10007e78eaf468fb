"""Digests that a client declares, of a PUT, of a form and of its file: right, or nothing of the file is stored."""

import base64
import hashlib
from collections.abc import Awaitable, Callable

import pytest
from awscrt.checksums import crc32, crc32c, crc64nvme

from tests.unit.api.expectations import PART, Shared, assert_problem
from tests.unit.api.rawhttp import Answer, exchange, form, form_head, form_part, head, post_form, put, put_in_chunks

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL, LARGE = b"small", hashlib.shake_256(b"large").digest(5 * PART + 1)


def text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def hashed(name: str) -> Callable[[bytes], str]:
    return lambda body: text(hashlib.new(name, body).digest())


HEADERS: dict[str, Callable[[bytes], str]] = {
    "Content-Digest: sha-256": lambda body: f"=:{hashed('sha256')(body)}:",
    "Content-Digest: sha-512": lambda body: f"=:{hashed('sha512')(body)}:",
    "Repr-Digest: sha-256": lambda body: f"=:{hashed('sha256')(body)}:;a=1",
    "Content-MD5: ": hashed("md5"),
    "Digest: SHA-256=": hashed("sha256"),
    "x-amz-checksum-crc32: ": lambda body: text(crc32(body).to_bytes(4, "big")),
    "x-amz-checksum-crc32c: ": lambda body: text(crc32c(body).to_bytes(4, "big")),
    "x-amz-checksum-crc64nvme: ": lambda body: text(crc64nvme(body).to_bytes(8, "big")),
    "x-amz-checksum-sha1: ": hashed("sha1"),
    "x-amz-checksum-sha256: ": hashed("sha256"),
    "x-amz-content-sha256: ": lambda body: hashlib.sha256(body).hexdigest(),
}


async def send_put(shared: Shared, content: bytes, *fields: str) -> Answer:
    return await put(shared, "k", content, *fields)


async def send_form(shared: Shared, content: bytes, *fields: str) -> Answer:
    """The headers are those of the field `file`."""
    return await post_form(shared, file_part(content, *fields))


def file_part(content: bytes, *fields: str, name: str = "file") -> bytes:
    first, _, rest = form_part(name, content, filename="f.txt").partition(b"\r\n\r\n")
    return b"\r\n".join((first, *(field.encode() for field in fields))) + b"\r\n\r\n" + rest


def assert_refused(shared: Shared, answer: Answer, status: int, code: str, word: str) -> None:
    assert_problem(answer, status, code)
    assert word in answer.json()["detail"]
    shared.assert_nothing_left()
    assert not any(bucket.calls["put"] or bucket.calls["complete"] for bucket in shared.buckets)


@pytest.mark.parametrize("content", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("send", [send_put, send_form])
@pytest.mark.parametrize("header", HEADERS)
async def test_the_digest_decides_when_it_is_declared_of_the_file(
    shared: Shared, header: str, send: Callable[..., Awaitable[Answer]], content: bytes
) -> None:
    name = header.partition(":")[0]
    wrong = await send(shared, content, header + HEADERS[header](b"other"))
    assert_refused(shared, wrong, 422, "digest_mismatch", name)
    shared.assert_stored(await send(shared, content, header + HEADERS[header](content)), content)


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("header", HEADERS)
async def test_the_digest_is_of_the_form_when_the_request_declares_it(
    shared: Shared, header: str, content: bytes
) -> None:
    name = header.partition(":")[0]
    parts = form_part("filename", b"n.txt"), form_part("file", content, filename="f.txt"), form_part("x", b"y")
    of_the_file = await post_form(shared, *parts, fields=[header + HEADERS[header](content)])
    assert_refused(shared, of_the_file, 422, "digest_mismatch", name)
    assert "form" in of_the_file.json()["detail"]
    right = await post_form(shared, *parts, fields=[header + HEADERS[header](form(*parts))])
    shared.assert_stored(right, content)


async def test_form_and_file_are_both_checked_when_both_are_declared(shared: Shared) -> None:
    md5 = HEADERS["Content-MD5: "]
    right, wrong = (file_part(SMALL, f"Content-MD5: {md5(digested)}") for digested in (SMALL, b"other"))
    for part, digested in ((wrong, form(wrong)), (right, b"other")):
        answer = await post_form(shared, part, fields=[f"Content-MD5: {md5(digested)}"])
        assert_refused(shared, answer, 422, "digest_mismatch", "Content-MD5")
    shared.assert_stored(await post_form(shared, right, fields=[f"Content-MD5: {md5(form(right))}"]), SMALL)


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("Content-Digest: sha-256=:YWJj:", "Content-Digest"),
        ("Content-Digest: unixsum=30637", "Content-Digest"),
        ("Content-MD5: 0cc175b9c0f1b6a831c399e269772661", "Content-MD5"),
        ("Digest: sha-256", "Digest"),
        ("x-amz-checksum-xxhash64: YWJjYWJjYWI=", "x-amz-checksum-xxhash64"),
        ("x-amz-sdk-checksum-algorithm: CRC32", "x-amz-checksum-crc32"),
        ("Trailer: Content-Digest", "Trailer"),
    ],
)
async def test_it_is_refused_early_when_a_digest_cannot_be_checked(shared: Shared, field: str, word: str) -> None:
    announced = "content-length: 100000"
    for request in (head("PUT", "/files/k", announced, field), form_head(announced, field)):
        answer = await exchange(shared, request)
        assert_refused(shared, answer, 400, "digest_refused", word)
    assert_refused(shared, await send_form(shared, SMALL, field), 400, "digest_refused", word)
    shared.assert_not_asked()


async def test_it_is_refused_when_another_field_of_the_form_has_a_digest(shared: Shared) -> None:
    digest = "Content-MD5: " + HEADERS["Content-MD5: "](b"n.txt")
    name, file = file_part(b"n.txt", digest, name="filename"), file_part(SMALL)
    for answer in [await post_form(shared, name, file), await post_form(shared, file, name)]:
        assert_refused(shared, answer, 400, "digest_refused", "`file`")


async def test_nothing_is_stored_when_the_digest_is_wrong_and_the_file_is_there(shared: Shared) -> None:
    shared.assert_stored(await send_put(shared, SMALL), SMALL)
    field = "Content-MD5: " + HEADERS["Content-MD5: "](b"other")
    assert_problem(await send_put(shared, SMALL, field), 422, "digest_mismatch")
    assert_problem(await send_put(shared, LARGE, field), 409, "key_taken")
    assert shared.buckets[0].objects["k"].body == SMALL


async def test_the_digest_decides_when_the_body_comes_in_chunks(shared: Shared) -> None:
    for body, status in ((b"other", 422), (LARGE, 201)):
        field = "x-amz-checksum-crc32c: " + HEADERS["x-amz-checksum-crc32c: "](body)
        answer = await put_in_chunks(shared, "k", LARGE, 1000, field)
        assert answer.status_code == status
    shared.assert_stored(answer, LARGE)
