"""Django's pages as one ASGI application: the front page, the admin, and the admin's own files.

Promises: a path that belongs to no page is a 404 of ours and never reaches Django, which would answer in HTML and
write a log line of its own. The same holds for an address that no page can have.
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
from starlette.types import ASGIApp, Receive, Scope, Send

from file.logic.errors import MalformedRequestError

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def django_pages() -> ASGIApp:
    """The pages, with static files in front of them: Django does not serve those when DEBUG is off."""
    # Django's and Starlette's types for the same ASGI differ in letter only.
    django = cast(ASGIApp, get_asgi_application())
    files = StaticFiles(packages=[("django.contrib.admin", "static")])

    async def static(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": "GET, HEAD"})
        # They go out whole: a range that cannot be read would be answered in plain text.
        headers = [field for field in scope["headers"] if field[0] != b"range"]
        await files({**scope, "headers": headers}, receive, send)

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        _check_address(scope)
        await django(scope, receive, send)

    return Router([Mount("/static", static)], redirect_slashes=False, default=page)


def _check_address(scope: Scope) -> None:
    """Raises what the API answers with, unless Django has a page there for this host."""
    if _is_malformed(scope["raw_path"]) or b"%00" in scope["query_string"]:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    try:
        resolve(scope["path"])
        ASGIRequest(scope, BytesIO()).get_host()
    except Resolver404:
        raise HTTPException(HTTPStatus.NOT_FOUND) from None
    except DisallowedHost:
        raise MalformedRequestError("The header Host names none of ALLOWED_HOSTS, which pages are for.") from None


def _is_malformed(raw_path: bytes) -> bool:
    """Whether it is no percent-encoded UTF-8, or has control characters: a database may stumble over them."""
    try:
        path = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return True
    return _CONTROLS.search(path) is not None
