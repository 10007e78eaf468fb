"""The outermost layer of every request: its id, its limit, its one log line, and an answer whatever happens.

Behind it the API comes first and Django second. Django never sees more than 1 MiB of a body: its handler spools the
whole body before a view runs. What is left of a body after an early answer is read on and thrown away for a while.
"""

import re
import time
from http import HTTPStatus
from typing import Any, Protocol

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from file.api.body import Body, BodyLimits
from file.api.gate import Gate
from file.api.responses import problem, problem_response
from file.logic.errors import UploadError
from file.logic.naming import new_file_id
from file.logic.values import MiB

DJANGO_BYTES = 1 * MiB
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger()


class Routes(Protocol):
    """The API: tells whether a path is its own."""

    def owns(self, path: str) -> bool: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Edge:
    """An ASGI application around `api` and `pages`."""

    def __init__(self, api: Routes, pages: ASGIApp, *, limits: BodyLimits, gate: Gate) -> None:
        self._api = api
        self._pages = pages
        self._limits = limits
        self._page_limits = BodyLimits(DJANGO_BYTES, limits.min_bytes_per_second, limits.grace_seconds)
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._api(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request_id = _request_id(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        is_api = self._api.owns(scope["path"])
        line: dict[str, Any] = {"method": scope["method"], "path": scope["path"][:1024]}
        answer = _Answer(send, request_id, self._gate)
        try:
            body = Body(scope, receive, self._limits if is_api else self._page_limits)
            answer.body = body
            body.check_declared()
            scope["mentum.body"], scope["mentum.line"] = body, line
            await (self._api if is_api else self._pages)(scope, body.next_message, answer.send)
        except UploadError as error:
            line["code"] = error.code
            await answer.instead(problem(error), scope)
        except HTTPException as error:
            line["code"] = "no_such_resource" if error.status_code == HTTPStatus.NOT_FOUND else "method_not_allowed"
            response = problem_response(
                HTTPStatus(error.status_code), line["code"], error.detail, headers=dict(error.headers or {})
            )
            await answer.instead(response, scope)
        except Exception:  # noqa: BLE001 - the last place where an answer can be given
            _log.exception("request_crashed", method=line["method"], path=line["path"])
            line["code"] = "internal_error"
            detail = "The service met an error of its own; the log has it under this request's id."
            await answer.instead(
                problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, line["code"], detail, request_id=request_id), scope
            )
        seconds = round(time.perf_counter() - began, 4)
        received = answer.body.received if answer.body else 0
        _log.info("request", **line, status=answer.status, received=received, seconds=seconds)
        if answer.body is not None:
            await answer.body.discard()


class _Answer:
    """What is sent back, with the headers that every answer has."""

    def __init__(self, send: Send, request_id: str, gate: Gate) -> None:
        self.body: Body | None = None
        self.status = 0
        self._send = send
        self._request_id = request_id.encode()
        self._gate = gate

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self._request_id)]
            # A body that was not read ends with its connection, or the next request would begin inside it.
            if self._gate.draining or self.body is None or not self.body.ended:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    async def instead(self, response: Response, scope: Scope) -> None:
        """Send `response`, unless an answer has begun already."""
        if not self.status:
            await response(scope, _nothing_more, self.send)


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}


def _request_id(scope: Scope) -> str:
    """The client's, if it is harmless in a log; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return new_file_id()
