"""The whole service, with Django behind the API: an unknown path gets one clear answer and one line in the log."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from file.logic.errors import S3ApiMissingError
from testkit.serviceprocess import ServiceProcess, wait_for
from tests.unit.api.expectations import assert_problem
from tests.unit.api.processes import service_alone


@pytest.fixture(scope="module", params=["false", "true"], ids=["", "debug"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    settings = {"DEBUG": request.param, "UPLOAD_OPEN": "true", "UPLOAD_TOKENS": "", "ALLOWED_HOSTS": "127.0.0.1"}
    with service_alone(tmp_path_factory.mktemp("unrouted"), **settings) as running:
        yield running


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, trust_env=False) as client:
        yield client


def sentence_of(operation: str) -> str:
    return f"An error occurred (NotImplemented) when calling the {operation} operation: {S3ApiMissingError.message}"


def lines_of(service: ServiceProcess, request_id: str) -> list[dict[str, Any]]:
    """Of a request that was answered: its own line is written just after."""

    def found() -> list[dict[str, Any]]:
        return [json.loads(line) for line in service.log.read_text().splitlines() if f'"{request_id}"' in line]

    assert wait_for(lambda: any(line["event"] == "request" for line in found()), 10)
    return found()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/nothing", "/upload/", "/<b>none", "/filesystem/x", "/index.html", "/static/none"])
def test_an_unknown_path_is_a_problem_and_one_line(
    service: ServiceProcess, client: httpx.Client, method: str, path: str
) -> None:
    for headers in ({}, {"host": "unlisted.example"}, {"accept": "text/html", "authorization": "Bearer wrong"}):
        answer = client.request(method, path, headers=headers, content=b"x" if method in ("POST", "PUT") else None)
        if path.startswith("/static/") and method != "GET":
            assert_problem(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == "GET, HEAD"
        else:
            assert_problem(answer, 404, "no_such_resource")
        assert "<b>" not in answer.text
        [line] = lines_of(service, answer.headers["x-request-id"])
        assert (line["event"], line["path"], line["code"]) == ("request", path, answer.json()["code"])


def test_head_of_an_unknown_path_has_no_body(client: httpx.Client) -> None:
    answer = client.head("/nothing")
    assert (answer.status_code, answer.content) == (404, b"")
    assert answer.headers["content-type"] == "application/problem+json"


def test_pages_are_djangos_and_one_line_when_they_exist(service: ServiceProcess, client: httpx.Client) -> None:
    for method, path, status in (
        *(("GET", "/", 200), ("POST", "/", 405), ("GET", "/admin", 302), ("GET", "/admin/", 302)),
        *(("GET", "/admin/login/", 200), ("GET", "/admin/nothing/", 302)),
    ):
        answer = client.request(method, path, headers={"host": "127.0.0.1"})
        assert answer.status_code == status, path
        assert len(lines_of(service, answer.headers["x-request-id"])) == 1


@pytest.mark.parametrize("path", ["/", "/admin/login/"])
def test_a_page_is_refused_when_its_host_is_unlisted(service: ServiceProcess, client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers={"host": "unlisted.example"})
    assert_problem(answer, 400, "malformed_request")
    assert "ALLOWED_HOSTS" in answer.json()["detail"]
    assert len(lines_of(service, answer.headers["x-request-id"])) == 1


def test_the_server_as_a_whole_is_no_page(service: ServiceProcess) -> None:
    """`OPTIONS *`, which no HTTP library sends as a path of its own."""
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=10)
    connection.request("OPTIONS", "*")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (204, b"")
    assert "PUT" in (answer.getheader("allow") or "")
    connection.close()


def s3_client(service: ServiceProcess, **config: Any) -> Any:
    keys = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "secret", "region_name": "eu-central-1"}
    config = {"s3": {"addressing_style": "path"}, "proxies": {}, **config}
    return boto3.client("s3", endpoint_url=service.url, config=Config(**config), **keys)


@pytest.mark.parametrize("signature", ["s3v4", "s3"])
def test_boto3_shows_the_sentence_when_it_is_pointed_at_the_service(service: ServiceProcess, signature: str) -> None:
    client = s3_client(service, signature_version=signature)
    where = {"Bucket": "bucket", "Key": "a/key"}
    parts = {"Parts": [{"PartNumber": 1, "ETag": '"x"'}]}
    for operation, arguments in (
        *(("ListBuckets", {}), ("CreateBucket", {"Bucket": "bucket"}), ("ListObjectsV2", {"Bucket": "bucket"})),
        *(("PutObject", {**where, "Body": b"x" * 100_000}), ("GetObject", where), ("CreateMultipartUpload", where)),
        *(("CompleteMultipartUpload", {**where, "UploadId": "x", "MultipartUpload": parts}), ("DeleteObject", where)),
    ):
        with pytest.raises(ClientError) as failed:
            client._make_api_call(operation, dict(arguments))
        assert str(failed.value) == sentence_of(operation)
        metadata = failed.value.response["ResponseMetadata"]
        assert (metadata["HTTPStatusCode"], bool(metadata["RequestId"]), metadata["RetryAttempts"]) == (501, True, 0)
    with pytest.raises(ClientError, match="501"):  # HEAD has no body to say more
        client.head_object(**where)


def test_boto3_shows_the_sentence_when_it_writes_without_a_signature(service: ServiceProcess) -> None:
    client = s3_client(service, signature_version=UNSIGNED)
    with pytest.raises(ClientError) as failed:
        client.put_object(Bucket="bucket", Key="k", Body=b"x")
    assert str(failed.value) == sentence_of("PutObject")


def test_an_address_that_boto3_signed_is_answered_in_the_form_of_s3(service: ServiceProcess) -> None:
    where = {"Bucket": "bucket", "Key": "k"}
    for signature in ("s3v4", "s3"):
        address = s3_client(service, signature_version=signature).generate_presigned_url("put_object", where)
        answer = httpx.put(address, content=b"x", trust_env=False)
        assert (answer.status_code, answer.headers["content-type"]) == (501, "application/xml")
        assert "<Code>NotImplemented</Code>" in answer.text
