"""There is no S3 API: a client of S3 gets an error in S3's own form, with a sentence that it shows to people."""

from xml.etree import ElementTree

import pytest

from file.logic.errors import S3ApiMissingError
from tests.unit.api.expectations import Shared, assert_problem
from tests.unit.api.rawhttp import Answer, exchange, put

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIGNED = "AWS4-HMAC-SHA256 Credential=AKIA/20260102/eu-central-1/s3/aws4_request, SignedHeaders=host, Signature=00"


def assert_not_implemented(answer: Answer) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (501, "application/xml")
    error = ElementTree.fromstring(answer.body)
    assert (error.tag, error.findtext("Code")) == ("Error", "NotImplemented")
    assert error.findtext("Message") == S3ApiMissingError.message
    request_id = answer.headers["x-amz-request-id"]
    assert request_id == error.findtext("RequestId") == answer.headers["x-request-id"]


def asking(method: str, target: str, *fields: str) -> bytes:
    """Without our token."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", "host: x", "connection: close", *fields, "", ""]).encode()


@pytest.mark.parametrize(
    "request_line",
    [
        *["GET /", "PUT /bucket", "PUT /bucket/key", "GET /bucket?list-type=2&prefix=", "GET /%ff", "PUT /files/k"],
        *["GET /files/k", "DELETE /files/k", "POST /files/k?uploads", "POST /upload", "PUT /files/", "GET /files"],
        *["GET /receipts/x", "GET /_/accounts", "GET /admin/"],
    ],
)
@pytest.mark.parametrize(
    "authorization", [SIGNED, "AWS4-ECDSA-P256-SHA256 x", "aws AKIA:c2ln", "AWS AKIA:c2ln", "aws4-hmac-sha256 x"]
)
async def test_s3_is_refused_when_the_request_is_signed(shared: Shared, request_line: str, authorization: str) -> None:
    fields = f"authorization: {authorization}", "content-length: 1"
    assert_not_implemented(await exchange(shared, asking(*request_line.split(), *fields), b"x"))
    shared.assert_nothing_left()


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=x&X-Amz-Signature=0",
        "versionId=1&X-Amz-Signature=0",
        "x-amz-signature=0",
        "AWSAccessKeyId=x&Signature=x&Expires=1",
    ],
)
@pytest.mark.parametrize("target", ["/", "/bucket/key", "/files/k", "/files"])
async def test_s3_is_refused_when_the_address_was_signed_before(shared: Shared, target: str, query: str) -> None:
    for method in ("GET", "PUT"):
        assert_not_implemented(await exchange(shared, asking(method, f"{target}?{query}")))
    shared.assert_nothing_left()


async def test_head_has_no_body_when_it_is_signed(shared: Shared) -> None:
    async with shared.client() as client:
        answer = await client.head("/bucket/key", headers={"authorization": SIGNED})
        assert (answer.status_code, answer.content) == (501, b"")
        assert answer.headers["content-type"] == "application/xml"
        assert (await client.get("/_/health")).status_code == 200  # on the same connection


async def test_an_id_is_text_in_the_answer_when_the_client_gave_it(shared: Shared) -> None:
    line = f"authorization: {SIGNED}"
    answer = await exchange(shared, asking("GET", "/", line, "x-request-id: the-clients.own"))
    assert_not_implemented(answer)
    assert answer.headers["x-amz-request-id"] == "the-clients.own"


async def test_the_token_counts_when_only_other_words_are_of_s3(shared: Shared) -> None:
    assert (await put(shared, "x-amz-signature", b"x", "x-amz-date: 20260102T030405Z")).status_code == 201
    async with shared.client() as client:
        assert (await client.get("/files", params={"prefix": "x-amz-"})).json()["files"]
        basic = await client.get("/files", headers={"authorization": "AWSX secret"})
    assert_problem(basic, 401, "token_missing")
