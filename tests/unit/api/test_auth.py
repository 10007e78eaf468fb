"""Bearer tokens, an open service, a closed one, and pages of other sites."""

import pytest

from file.api.auth import Auth
from testkit.serviceprocess import TOKEN
from tests.unit.api.expectations import Shared, assert_problem, memory_service
from tests.unit.api.rawhttp import BOUNDARY, exchange, form, form_part

ENDPOINTS = [("PUT", "/files/k"), ("POST", "/upload"), ("GET", "/_/accounts")]


def request(method: str, target: str, *fields: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.1".encode(), b"host: x", b"content-length: 1", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\nx"


@pytest.mark.parametrize(
    ("field", "code"),
    [
        (b"x-none: 1", "token_missing"),
        (b"authorization:", "token_missing"),
        (b"authorization: Bearer", "token_missing"),
        (b"authorization: Bearer  ", "token_missing"),
        (b"authorization: Basic " + TOKEN.encode(), "token_missing"),
        (b"authorization: " + TOKEN.encode(), "token_missing"),
        *(
            (b"authorization: Bearer " + token, "token_refused")
            for token in (
                *(b"wrong", TOKEN.encode()[:-1], TOKEN.encode() + b"x", TOKEN.upper().encode()),
                *(b"\xff\xfe", b"t\xc3\xb6ken", b"x" * 10_000),
            )
        ),
        (b"authorization: Bearer wrong\r\nauthorization: Bearer " + TOKEN.encode(), "token_refused"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_endpoints_refuse_when_the_token_is_missing_or_wrong(shared: Shared, field: bytes, code: str) -> None:
    for method, target in ENDPOINTS:
        answer = await exchange(shared, request(method, target, field))
        assert_problem(answer, 401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert TOKEN.encode() not in answer.body
    shared.assert_nothing_left()
    shared.assert_not_asked()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_file_is_stored_when_the_token_is_one_of_many(scheme: str) -> None:
    async with memory_service(tokens={"other": "another-token-of-tests", "tests": TOKEN}) as service:
        field = f"authorization: {scheme} {TOKEN}".encode()
        service.assert_stored(await exchange(service, request("PUT", "/files/k", field)), b"x")


async def test_every_endpoint_refuses_when_there_are_no_tokens_and_the_service_is_not_open() -> None:
    async with memory_service(tokens={}) as service:
        for method, target in ENDPOINTS:
            for field in (b"x-none: 1", f"authorization: Bearer {TOKEN}".encode(), b"authorization: Bearer "):
                assert (await exchange(service, request(method, target, field))).status_code == 401
        service.assert_nothing_left()


async def test_every_request_is_accepted_when_the_service_is_open() -> None:
    async with memory_service(tokens={}, open=True, allowed_hosts=("x",)) as service:
        assert (await exchange(service, request("PUT", "/files/k"))).status_code == 201
        assert (await exchange(service, request("PUT", "/files/l", b"authorization: Bearer any"))).status_code == 201
        assert (await exchange(service, request("GET", "/_/accounts"))).status_code == 200


# --- pages of other sites

SITE = "https://pages.example.com"
ASKS = {"origin": SITE, "access-control-request-headers": "authorization,x-amz-meta-colour,content-type"}


@pytest.mark.parametrize(("method", "target"), [("PUT", "/files/k"), ("POST", "/upload")])
@pytest.mark.parametrize("origins", [(SITE,), ("https://other.example.com", SITE), ("*",)])
async def test_a_page_may_upload_when_its_site_is_listed(origins: tuple[str, ...], method: str, target: str) -> None:
    async with memory_service(cors_origins=origins) as service, service.client() as client:
        asked = await client.options(target, headers={**ASKS, "access-control-request-method": method})
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] in {SITE, "*"}
        assert method in asked.headers["access-control-allow-methods"]
        allowed = {name.strip().lower() for name in asked.headers["access-control-allow-headers"].split(",")}
        assert {"authorization", "x-amz-meta-colour", "content-type"} <= allowed
        body, kind = form(form_part("file", b"x", filename="f")), f"multipart/form-data; boundary={BOUNDARY}"
        answer = await client.request(method, target, content=body, headers={"content-type": kind, "origin": SITE})
        assert answer.status_code == 201
        assert answer.headers["access-control-allow-origin"] in {SITE, "*"}
        assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
        refused = await client.request(method, target, headers={"origin": SITE, "authorization": "Bearer wrong"})
        assert_problem(refused, 401, "token_refused")
        assert refused.headers["access-control-allow-origin"] in {SITE, "*"}  # or the page could not read why


async def test_a_page_may_not_upload_when_its_site_is_not_listed() -> None:
    async with memory_service(cors_origins=("https://other.example.com",)) as service, service.client() as client:
        asked = await client.options("/files/k", headers={**ASKS, "access-control-request-method": "PUT"})
        assert asked.status_code == 400
        assert "access-control-allow-origin" not in asked.headers
        answer = await client.put("/files/k", content=b"x", headers={"origin": SITE})
        assert "access-control-allow-origin" not in answer.headers


async def test_no_page_may_upload_when_no_site_is_listed() -> None:
    async with memory_service() as service, service.client() as client:
        asked = await client.options("/files/k", headers={**ASKS, "access-control-request-method": "PUT"})
        answer = await client.put("/files/k", content=b"x", headers={"origin": SITE})
    assert (asked.status_code, asked.content) == (204, b"")
    for headers in (asked.headers, answer.headers):
        assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize(("names", "share"), [("", 1.0), ("a", 1.0), ("ab", 0.5), ("abc", 0.5)])
def test_one_token_has_half_when_there_are_others(names: str, share: float) -> None:
    assert Auth({name: TOKEN + name for name in names}, open=not names).share == share
