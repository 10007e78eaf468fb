"""The payload limit, to the byte: request line, headers and decoded body together."""

from collections.abc import Callable

import pytest

from tests.unit.api.expectations import PART, assert_problem, memory_service
from tests.unit.api.rawhttp import CHUNKED, exchange, form, form_head, form_part, head, in_chunks, put

LIMIT = 5_767_168
TARGET = "/files/the/key"
Way = Callable[[int], tuple[bytes, bytes]]


def put_of(total: int) -> tuple[bytes, bytes]:
    """Head and body of a PUT that has `total` bytes, everything counted."""
    size = total - len(head("PUT", TARGET, f"content-length: {total}"))
    assert len(str(size)) == len(str(total))  # or the head would be another one
    return head("PUT", TARGET, f"content-length: {size}"), b"x" * size


def form_of(total: int) -> tuple[bytes, bytes]:
    size = total - len(form_head(f"content-length: {total}"))
    content = b"x" * (size - len(form(form_part("file", b"", filename="f"))))
    return form_head(f"content-length: {size}"), form(form_part("file", content, filename="f"))


def chunked_put_of(total: int) -> tuple[bytes, bytes]:
    first = head("PUT", TARGET, CHUNKED)
    return first, b"x" * (total - len(first))


def chunked_form_of(total: int) -> tuple[bytes, bytes]:
    first = form_head(CHUNKED)
    content = b"x" * (total - len(first) - len(form(form_part("file", b"", filename="f"))))
    return first, form(form_part("file", content, filename="f"))


@pytest.mark.parametrize("way", [put_of, form_of, chunked_put_of, chunked_form_of])
async def test_the_file_is_stored_when_the_request_has_exactly_the_limit(way: Way) -> None:
    first, body = way(LIMIT)
    assert len(first) + len(body) == LIMIT
    # The framing of chunks does not count.
    pieces = in_chunks(body, 10_000) if CHUNKED.encode() in first else [body]
    async with memory_service() as service:
        assert (await exchange(service, first, *pieces)).status_code == 201
        assert all(len(bucket.objects) == 1 for bucket in service.buckets)


@pytest.mark.parametrize("way", [put_of, form_of])
async def test_the_answer_comes_before_the_body_when_its_declared_length_passes_the_limit(way: Way) -> None:
    async with memory_service() as service:
        answer = await exchange(service, way(LIMIT + 1)[0])
        assert_problem(answer, 413, "request_too_large")
        assert answer.headers["connection"] == "close"
        service.assert_nothing_left()
        service.assert_not_asked()


@pytest.mark.parametrize("part_size", [PART, 8 << 20])
@pytest.mark.parametrize("way", [chunked_put_of, chunked_form_of])
async def test_the_answer_comes_before_the_end_when_chunks_pass_the_limit(way: Way, part_size: int) -> None:
    first, body = way(LIMIT + 1)
    *pieces, _ = in_chunks(body)
    async with memory_service(part_size=part_size) as service:
        assert_problem(await exchange(service, first, *pieces), 413, "request_too_large")
        service.assert_nothing_left()


async def test_the_file_is_stored_when_there_is_no_limit() -> None:
    async with memory_service(max_request_bytes=0) as service:
        first, body = put_of(LIMIT + 1)
        service.assert_stored(await exchange(service, first, body), body)
        assert (await exchange(service, *form_of(LIMIT + 1))).status_code == 201
        assert all(len(bucket.objects) == 2 for bucket in service.buckets)


@pytest.mark.parametrize("limit", [0, LIMIT, 1 << 40])
async def test_a_page_gets_one_mebibyte_when_uploads_may_have_more(limit: int) -> None:
    mebibyte = 1 << 20
    async with memory_service(max_request_bytes=limit) as service:
        for target in ("/", "/upload/", "/filesystem", "/admin/login"):
            size = mebibyte - len(head("POST", target, f"content-length: {mebibyte}"))
            assert len(str(size)) == len(str(mebibyte))
            passing = await exchange(service, head("POST", target, f"content-length: {size}"), b"x" * size)
            assert passing.status_code == 404  # of the pages
            refused = await exchange(service, head("POST", target, f"content-length: {size + 1}"), b"x" * (size + 1))
            assert_problem(refused, 413, "request_too_large")
        chunked = await exchange(service, head("POST", "/", CHUNKED), *in_chunks(b"x" * mebibyte))
        assert_problem(chunked, 413, "request_too_large")


async def test_the_request_is_refused_when_its_head_alone_passes_the_limit() -> None:
    async with memory_service(max_request_bytes=300) as service:
        for request in (
            head("GET", "/_/health", "x-long: " + "x" * 300),
            head("PUT", "/files/k", "content-length: 0", "x-long: " + "x" * 300),
            head("PUT", "/files/" + "k" * 300, "content-length: 0"),
        ):
            assert_problem(await exchange(service, request), 413, "request_too_large")
        service.assert_nothing_left()


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head("PUT", "/files/k", "content-length: 1", *(f"x-{number}: x" for number in range(200))), 431),
        (head("PUT", "/files/" + "k" * 66_000, "content-length: 1"), 414),
    ],
)
async def test_the_server_refuses_when_a_head_is_too_large(request_head: bytes, status: int) -> None:
    async with memory_service() as service:
        assert (await exchange(service, request_head, b"x")).status_code == status
        service.assert_nothing_left()


async def test_nothing_is_stored_when_one_header_has_a_megabyte() -> None:
    async with memory_service() as service:
        answer = await put(service, "k", b"x", "x-long: " + "x" * 1_000_000)
        # The server closes with bytes unread, and the reset may overtake its answer.
        assert answer.status_code in {431, 400, 0}
        service.assert_nothing_left()
        service.assert_stored(await put(service, "k"), b"x")
