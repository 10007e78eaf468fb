"""Digests and conditions that the client sends with a file: a wrong digest or a failed condition stores nothing."""

import base64
import hashlib
import zlib

import httpx
import pytest

from tests.service.conftest import Accounts, serving_client
from tests.service.owners import assert_nothing_left, assert_stored
from tests.service.sizes import MANY_PARTS, ONE_PART, content
from tests.unit.api.expectations import assert_problem

DECLARED = ["content-md5", "content-digest", "x-amz-checksum-crc32"]


def declared(name: str, body: bytes) -> str:
    return {
        "content-md5": lambda: base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
        "content-digest": lambda: f"sha-512=:{base64.b64encode(hashlib.sha512(body).digest()).decode()}:",
        "x-amz-checksum-crc32": lambda: base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode(),
    }[name]()


@pytest.mark.parametrize(("size", "names"), [(ONE_PART, DECLARED), (MANY_PARTS, DECLARED[:1])], ids=["one", "many"])
@pytest.mark.parametrize("way", ["raw", "file", "form"])
async def test_no_file_is_left_when_digests_differ(accounts: Accounts, way: str, size: int, names: list[str]) -> None:
    body = content(size)
    stored = {}
    async with serving_client(*accounts.values()) as (service, client):
        for name in names:
            refused = await send(client, way, name, body, of=b"other")
            assert_problem(refused, 422, "digest_mismatch")
            assert name in refused.json()["detail"].lower()
        assert_nothing_left(accounts.values())
        for name in names:
            answer = await send(client, way, name, body)
            assert answer.status_code in (200, 201), answer.text
            stored[answer.json()["key"]] = body
        assert service.application.uploads.budget.used == 0
    assert_stored(accounts.values(), stored)


async def send(client: httpx.AsyncClient, way: str, name: str, body: bytes, of: bytes | None = None) -> httpx.Response:
    if way == "raw":
        return await client.put("/files/k", content=body, headers={name: declared(name, of or body)})
    fields = {name: declared(name, of or body)} if way == "file" else {}
    request = client.build_request("POST", "/upload", files={"file": ("f", body, "text/plain", fields)})
    if way == "form":
        whole = await request.aread()
        request.headers[name] = declared(name, of or whole)
    return await client.send(request)


async def test_the_file_stays_in_every_account_when_a_condition_fails(accounts: Accounts) -> None:
    async with serving_client(*accounts.values()) as (_, client):
        for size in (ONE_PART, MANY_PARTS):
            absent = await client.put("/files/k", content=content(size), headers={"if-match": "*"})
            assert_problem(absent, 412, "condition_failed")
        assert_nothing_left(accounts.values())
        first = await client.put("/files/k", content=content(ONE_PART), headers={"if-none-match": "*"})
        assert first.status_code == 201
        for condition in ({"if-none-match": "*"}, {"if-match": '"another"'}):
            for size in (ONE_PART, MANY_PARTS):
                answer = await client.put("/files/k", content=content(size), headers=condition)
                assert_problem(answer, 412, "condition_failed")
                assert answer.headers["etag"] == (await client.head("/files/k")).headers["etag"]
            assert (await client.delete("/files/k", headers=condition)).status_code == 412
    assert_stored(accounts.values(), {"k": content(ONE_PART)})
