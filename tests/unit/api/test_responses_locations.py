"""The address of a file in the answer to its upload: `Location`, and `url` in the receipt."""

from urllib.parse import quote

import pytest

from tests.serving import HEADERS, running
from tests.unit.api.expectations import Shared, three
from tests.unit.api.rawhttp import form_part, post_form, put

pytestmark = pytest.mark.asyncio(loop_scope="module")

SITE = "https://pages.example.com"


PLAIN_KEYS = ("k", "a/b//c", "/a", " spaces ", "a+b&c=d", "50%.txt", "what?#x", "%2F", "a:b;c")


@pytest.mark.parametrize("key", [*PLAIN_KEYS, "отчёт/日本語 🗂", 'it\'s (1) "x"~.-_'])
async def test_the_file_is_where_its_location_says_when_it_was_put(shared: Shared, key: str) -> None:
    location = f"/files/{quote(key)}"
    for status in (201, 200):
        answer = await put(shared, quote(key), b"content")
        assert (answer.status_code, answer.headers["location"], answer.json()["url"]) == (status, location, location)
    async with shared.client() as client:
        read = await client.get(location)
        assert (read.status_code, read.content) == (200, b"content")
        assert (await client.get(f"/receipts/{answer.json()['id']}")).json()["url"] == location


async def test_the_file_is_where_its_location_says_when_it_came_in_a_form(shared: Shared) -> None:
    answer = await post_form(shared, form_part("file", b"content", filename="résumé 1.pdf"))
    receipt = shared.assert_stored(answer, b"content")
    assert answer.headers["location"] == receipt["url"] == f"/files/{receipt['key']}"
    async with shared.client() as client:
        assert (await client.get(receipt["url"])).content == b"content"


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
        headers = {"origin": SITE, **HEADERS}
        answers = [
            await client.put("/files/k", content=b"content", headers=headers),
            await client.put("/files/k", content=b"content", headers=headers),
            await client.get("/files/k", headers={**headers, "range": "bytes=1-2"}),
            await client.patch("/files/k", headers=headers),
            await client.get("/files/k", headers={"origin": SITE}),
        ]
    assert [answer.status_code for answer in answers] == [201, 200, 206, 405, 401]
    # What every page may read (Fetch, "CORS-safelisted response-header name"), and what is for browsers only.
    always = {
        *("cache-control", "content-language", "content-length", "content-type", "expires", "last-modified", "pragma"),
        *("connection", "content-security-policy", "date", "server", "vary", "x-content-type-options"),
    }
    for answer in answers:
        exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert {name for name in answer.headers if not name.startswith("access-control-")} <= exposed | always
    assert "location" in answers[0].headers
