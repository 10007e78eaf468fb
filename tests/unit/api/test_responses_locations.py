"""Where a file is, as the answer to its upload tells: `Location`, and `url` in the receipt."""

from urllib.parse import quote

import pytest

from tests.serving import running
from tests.unit.api.expectations import Shared, three
from tests.unit.api.rawhttp import form_part, post_form, put

pytestmark = pytest.mark.asyncio(loop_scope="module")

SITE = "https://pages.example.com"


@pytest.mark.parametrize(
    "key",
    [
        "k",
        "a/b//c",
        "/a",
        " spaces ",
        "a+b&c=d",
        "50%.txt",
        "what?#x",
        "отчёт/日本語 🗂",
        'it\'s (1) "x"~.-_',
        "%2F",
        "a:b;c",
    ],
)
async def test_the_file_is_where_its_location_says_when_it_was_put(shared: Shared, key: str) -> None:
    answer = await put(shared.service, quote(key), b"content")
    again = await put(shared.service, quote(key), b"content")
    assert (answer.status_code, again.status_code) == (201, 200)
    location = answer.headers["location"]
    assert location == f"/files/{quote(key)}"
    assert location.isascii()
    assert again.headers["location"] == answer.json()["url"] == again.json()["url"] == location
    async with shared.service.client() as client:
        read = await client.get(location)
        receipt = await client.get(f"/receipts/{answer.json()['id']}")
    assert (read.status_code, read.content) == (200, b"content")
    assert receipt.json()["url"] == location


async def test_the_file_is_where_its_location_says_when_it_came_in_a_form(shared: Shared) -> None:
    answer = await post_form(shared.service, form_part("file", b"content", filename="résumé 1.pdf"))
    assert answer.status_code == 201
    assert answer.headers["location"] == answer.json()["url"] == f"/files/{answer.json()['key']}"
    async with shared.service.client() as client:
        assert (await client.get(answer.json()["url"])).content == b"content"


async def test_an_upload_that_failed_has_no_location() -> None:
    async with running(three(refuses_put=1)) as service:
        refused = await put(service, "a/..", b"x")
        failed = await put(service, "k", b"x")
    assert (refused.status_code, failed.status_code) == (400, 502)
    for answer in (refused, failed):
        assert "location" not in answer.headers
        assert "url" not in answer.json()


async def test_a_page_may_read_what_it_needs_when_its_site_is_listed() -> None:
    async with running(three(), cors_origins=(SITE,)) as service, service.client(headers=None) as client:
        headers = {"origin": SITE, "authorization": "Bearer the-token-of-the-tests"}
        stored = await client.put("/files/k", content=b"content", headers=headers)
        again = await client.put("/files/k", content=b"content", headers=headers)
        part = await client.get("/files/k", headers={**headers, "range": "bytes=1-2"})
        refused = await client.patch("/files/k", headers=headers)
        stranger = await client.get("/files/k", headers={"origin": SITE})
    assert [answer.status_code for answer in (stored, again, part, refused, stranger)] == [201, 200, 206, 405, 401]
    # What every page may read (Fetch, "CORS-safelisted response-header name"), and what is for browsers only.
    always = {
        *("cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"),
        *("connection", "content-security-policy", "date", "server", "vary", "x-content-type-options"),
    }
    for answer in (stored, again, part, refused, stranger):
        exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
        told = {name for name in answer.headers if not name.startswith("access-control-")}
        assert told <= exposed | always
    assert "location" in stored.headers
