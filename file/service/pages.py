"""Django's pages as one ASGI application: the front page, the admin, and the files of the admin.

Promises: a path without a page, or an invalid address, gets our 404 and never reaches Django, which would answer in
HTML and write another log line.
"""

import re
from http import HTTPStatus
from io import BytesIO
from typing import cast
from urllib.parse import unquote_to_bytes

from django.core.asgi import get_asgi_application
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.urls import Resolver404, resolve
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from file.logic.errors import MalformedRequestError

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def django_pages() -> ASGIApp:
    """The pages, with static files in front: Django does not serve static files with DEBUG=false."""
    # Django's and Starlette's types of ASGI are equivalent.
    django = cast(ASGIApp, get_asgi_application())
    files = StaticFiles(packages=[("django.contrib.admin", "static")])

    async def static(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": "GET, HEAD"})
        # Files are always sent as a whole: an invalid range would be answered in plain text.
        headers = [field for field in scope["headers"] if field[0] != b"range"]
        pieces: list[bytes] = []

        async def whole(message: Message) -> None:
            """As one piece: so the server has all of it, and limits how long the client may take."""
            if message["type"] == "http.response.body":
                pieces.append(message.get("body", b""))
                if message.get("more_body", False):
                    return
                message = {"type": "http.response.body", "body": b"".join(pieces)}
            await send(message)

        await files({**scope, "headers": headers}, receive, whole)

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        _check_address(scope)
        await django(scope, receive, send)

    return Router([Mount("/static", static)], redirect_slashes=False, default=page)


def _check_address(scope: Scope) -> None:
    """Raises an error of the API, unless Django has a page at this address for this host."""
    try:
        # A database may refuse control characters.
        if _CONTROLS.search(unquote_to_bytes(scope["raw_path"]).decode()) or b"%00" in scope["query_string"]:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        resolve(scope["path"])
        ASGIRequest(scope, BytesIO()).get_host()
    except (UnicodeDecodeError, Resolver404):
        raise HTTPException(HTTPStatus.NOT_FOUND) from None
    except DisallowedHost:
        raise MalformedRequestError("The header Host names none of ALLOWED_HOSTS, which pages are for.") from None
