"""The files of the admin: sent whole, so that the server limits how long a client may take for them."""

import asyncio

import pytest
from starlette.types import Message

from file.service.pages import django_pages

PATH = "/static/admin/js/vendor/xregexp/xregexp.js"


@pytest.mark.parametrize(("method", "is_empty"), [("GET", False), ("HEAD", True)])
async def test_a_file_is_one_piece_when_it_is_large(method: str, is_empty: bool) -> None:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()  # the client stays
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": method, "path": PATH, "raw_path": PATH.encode(), "root_path": "", "headers": []}
    await django_pages()(scope, receive, send)
    start, body = messages
    assert start["status"] == 200
    size = int(dict(start["headers"])[b"content-length"])
    assert size > 128 * 1024
    assert len(body["body"]) == (0 if is_empty else size)
    assert not body.get("more_body", False)
