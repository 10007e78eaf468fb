"""One request: its path and its head, and that it is freed when it has ended."""

import gc
import weakref
from typing import Any

import pytest
from starlette.types import Message

from file.api.body import Body, BodyLimits
from file.api.requests import ANONYMOUS, Request, check_head, request_of, seems_to_be_for_s3
from file.logic.errors import KeyRefusedError, MalformedRequestError


def scope_of(*headers: tuple[bytes, bytes], path: bytes = b"/files/k", query: bytes = b"") -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "PUT",
        "path": path.decode(),
        "raw_path": path,
        "query_string": query,
        "headers": [(b"host", b"x"), *headers],
    }


async def nothing() -> Message:
    return {"type": "http.disconnect"}


def request(scope: dict[str, Any]) -> Request:
    return Request(scope, "an-id", Body(scope, nothing, BodyLimits(0, 0, 0.0)))


def test_a_request_is_found_in_its_scope_when_it_was_made() -> None:
    scope = scope_of((b"x-name", b"value"))
    made = request(scope)
    assert request_of(scope) is made
    assert (made.id, made.method, made.headers["X-Name"]) == ("an-id", "PUT", "value")
    assert (made.principal, made.status, made.line) == (ANONYMOUS, 0, {"method": "PUT", "path": "/files/k"})


def test_nothing_stays_in_memory_when_the_scope_has_gone() -> None:
    scope = scope_of()
    body = weakref.ref(request(scope).body)
    gc.disable()
    try:
        del scope
        assert body() is None  # without a run of the garbage collector
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("path", "query", "reason"),
    [(b"/%66iles/k", b"", "percent-encoded"), (b"/files/k", b"a=b", "%3F"), (b"/files/kkkk", b"", "longer")],
)
def test_the_key_is_refused_when_the_path_has_another_form(path: bytes, query: bytes, reason: str) -> None:
    with pytest.raises(KeyRefusedError, match=reason):
        request(scope_of(path=path, query=query)).key(longest_prefix_bytes=1021)


@pytest.mark.parametrize("host", [b"", b"a b", b"a/b", b"a@b"])
def test_a_head_is_refused_when_its_host_is_none(host: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="Host"):
        check_head(scope_of() | {"headers": [(b"host", host)]})


@pytest.mark.parametrize(
    ("name", "expected"), [(b"x-amz-date", True), (b"x-amz-cf-id", False), (b"authorization", False)]
)
def test_a_client_for_s3_is_recognised_when_it_sends_no_signature(name: bytes, expected: bool) -> None:
    scope = scope_of((name, b"Bearer x"))
    check_head(scope)
    assert seems_to_be_for_s3(scope) is expected
