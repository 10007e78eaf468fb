"""The routes: what each endpoint needs, that nothing is reached without it, and which fault is answered first."""

import pytest

from tests.unit.api.expectations import Shared, assert_problem
from tests.unit.api.rawhttp import connected, exchange, head

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEEDS = {
    ("PUT", "/files/{key}"): "upload",
    ("GET", "/files/{key}"): "read",
    ("HEAD", "/files/{key}"): "read",
    ("DELETE", "/files/{key}"): "erase",
    ("POST", "/upload"): "upload",
    ("GET", "/files"): "list",
    ("HEAD", "/files"): "list",
    ("GET", "/receipts/{id}"): "read",
    ("HEAD", "/receipts/{id}"): "read",
    ("GET", "/_/health"): None,
    ("HEAD", "/_/health"): None,
    ("GET", "/_/ready"): None,
    ("HEAD", "/_/ready"): None,
    ("GET", "/_/metrics"): "metrics",
    ("HEAD", "/_/metrics"): "metrics",
    ("GET", "/_/accounts"): "metrics",
    ("HEAD", "/_/accounts"): "metrics",
}
WRONG = b"authorization: Bearer wrong"


def bare(method: str, target: str, *fields: bytes) -> bytes:
    """The head of a request without a token."""
    return b"\r\n".join([f"{method} {target} HTTP/1.1".encode(), b"host: x", *fields, b"", b""])


async def test_each_endpoint_declares_what_it_needs_when_the_routes_are_walked(shared: Shared) -> None:
    routes = shared.service.application.routes
    declared = {
        (method, route.template): endpoint.needs for route in routes for method, endpoint in route.endpoints.items()
    }
    assert declared == NEEDS


@pytest.mark.parametrize(("method", "template"), NEEDS)
async def test_an_endpoint_is_reached_without_a_token_only_when_it_is_public(
    shared: Shared, method: str, template: str
) -> None:
    target = template.replace("{key}", "k").replace("{id}", "x")
    expected = 200 if NEEDS[method, template] is None else 401
    for field in (b"x-none: 1", WRONG):
        async with connected(shared.service) as connection:
            await connection.send(bare(method, target, b"content-length: 0", field))
            answer = await connection.answer(to_head=method == "HEAD")
        assert answer.status_code == expected
    assert not any(bucket.calls for bucket in shared.buckets)


@pytest.mark.parametrize(
    ("method", "target", "field", "status", "code"),
    [
        # Answered before the token is looked at.
        ("PUT", "/files/k", b"content-length: 9999999999999", 413, "request_too_large"),
        ("PUT", "/files/k", b"host: y", 400, "malformed_request"),
        ("PUT", "/files/k", b"authorization: AWS4-HMAC-SHA256 Credential=x", 501, ""),
        ("PATCH", "/files/k", b"x-none: 1", 405, "method_not_allowed"),
        ("GET", "/_/nothing", b"x-none: 1", 404, "no_such_resource"),
        ("GET", "/receipts/a/b", b"x-none: 1", 404, "no_such_resource"),
        ("GET", "/receipts/", b"x-none: 1", 404, "no_such_resource"),
        # Everything else is looked at after the token.
        ("PUT", "/files/", b"x-none: 1", 401, "token_missing"),
        ("PUT", "/files/a/../b", b"x-none: 1", 401, "token_missing"),
        ("PUT", "/files/a%0Ab", WRONG, 401, "token_refused"),
        ("PUT", "/files/k", b"upload-ack: 9", 401, "token_missing"),
        ("PUT", "/files/k", b"content-range: bytes 0-1/2", 401, "token_missing"),
        ("POST", "/upload", b"content-type: text/plain", 401, "token_missing"),
        ("GET", "/files?limit=x", b"x-none: 1", 401, "token_missing"),
        ("GET", "/files/none", b"x-none: 1", 401, "token_missing"),
        ("DELETE", "/files/none", WRONG, 401, "token_refused"),
    ],
)
async def test_the_fault_that_is_answered_first_stays_when_a_request_has_several(
    shared: Shared, method: str, target: str, field: bytes, status: int, code: str
) -> None:
    answer = await exchange(shared.service, bare(method, target, field))
    if code:
        assert_problem(answer, status, code)
    assert answer.status_code == status
    shared.assert_nothing_left()


async def test_a_key_is_refused_with_a_reason_when_it_is_in_a_path_with_a_line_break(shared: Shared) -> None:
    answer = await exchange(shared.service, head("GET", "/files/a%0Ab"))
    assert_problem(answer, 400, "key_refused")
