"""The routes: the right that each endpoint needs, and which fault is answered first."""

import pytest

from tests.unit.api.expectations import Shared, assert_problem
from tests.unit.api.rawhttp import connected, exchange

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEEDS = {
    ("PUT", "/files/{key}"): "upload",
    ("DELETE", "/files/{key}"): "erase",
    ("POST", "/upload"): "upload",
    **{
        (method, template): right
        for method in ("GET", "HEAD")
        for template, right in {
            "/files/{key}": "read",
            "/files": "list",
            "/receipts/{id}": "read",
            "/_/health": None,
            "/_/ready": None,
            "/_/metrics": "metrics",
            "/_/accounts": "metrics",
        }.items()
    },
}
WRONG, NONE = b"authorization: Bearer wrong", b"x-none: 1"


def bare(method: str, target: str, *fields: bytes) -> bytes:
    """The head of a request without a token."""
    return b"\r\n".join([f"{method} {target} HTTP/1.1".encode(), b"host: x", *fields, b"", b""])


async def test_each_endpoint_declares_what_it_needs_when_the_routes_are_walked(shared: Shared) -> None:
    endpoints = {route.template: route.endpoints for route in shared.service.application.routes}
    declared = {(method, path): each.needs for path, methods in endpoints.items() for method, each in methods.items()}
    assert declared == NEEDS


@pytest.mark.parametrize(("method", "template"), NEEDS)
async def test_a_token_is_needed_unless_the_endpoint_is_public(shared: Shared, method: str, template: str) -> None:
    target = template.replace("{key}", "k").replace("{id}", "x")
    expected = 200 if NEEDS[method, template] is None else 401
    for field, code in ((NONE, "token_missing"), (WRONG, "token_refused")):
        async with connected(shared) as connection:
            await connection.send(bare(method, target, b"content-length: 0", field))
            answer = await connection.answer(to_head=method == "HEAD")
        assert answer.status_code == expected
        if expected == 401 and method != "HEAD":
            assert_problem(answer, 401, code)
    shared.assert_not_asked()


@pytest.mark.parametrize(
    ("method", "target", "field", "status", "code"),
    [
        # Answered before the token is looked at.
        ("PUT", "/files/k", b"content-length: 9999999999999", 413, "request_too_large"),
        ("PUT", "/files/k", b"host: y", 400, "malformed_request"),
        ("PUT", "/files/k", b"authorization: AWS4-HMAC-SHA256 Credential=x", 501, ""),
        ("PATCH", "/files/k", NONE, 405, "method_not_allowed"),
        *(("GET", target, NONE, 404, "no_such_resource") for target in ("/_/nothing", "/receipts/a/b", "/receipts/")),
        # Everything else is looked at after the token.
        *(
            (*request, 401, "token_refused" if WRONG in request else "token_missing")
            for request in (
                *(("PUT", "/files/", NONE), ("PUT", "/files/a/../b", NONE), ("PUT", "/files/a%0Ab", WRONG)),
                *(("PUT", "/files/k", b"upload-ack: 9"), ("PUT", "/files/k", b"content-range: bytes 0-1/2")),
                *(("POST", "/upload", b"content-type: text/plain"), ("GET", "/files?limit=x", NONE)),
                *(("GET", "/files/none", NONE), ("DELETE", "/files/none", WRONG)),
            )
        ),
    ],
)
async def test_the_fault_that_is_answered_first_stays_when_a_request_has_several(
    shared: Shared, method: str, target: str, field: bytes, status: int, code: str
) -> None:
    answer = await exchange(shared, bare(method, target, field))
    if code:
        assert_problem(answer, status, code)
    assert answer.status_code == status
    shared.assert_nothing_left()
