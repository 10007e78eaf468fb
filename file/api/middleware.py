"""The outermost layer of every request: its id, its limit, its one log line, and an answer whatever happens.

Behind it the API comes first and Django second. Django never sees more than 1 MiB of a body: its handler spools the
whole body before a view runs. What is left of a body after an early answer is read on and thrown away for a while.
"""

import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from file.api.admission import Gate
from file.api.body import Body, BodyLimits
from file.api.counting import count
from file.api.discarding import Discarding
from file.api.firstlook import look_at, seems_to_speak_s3
from file.api.responses import problem, problem_response, s3_error
from file.logic.errors import S3ApiMissingError, UploadError, without_frames
from file.logic.naming import new_file_id
from file.logic.values import MiB

DJANGO_BYTES = 1 * MiB
_NOTHING_HERE = "There is nothing under this path: uploads go to POST /upload or PUT /files/{key}."
_NOSNIFF = (b"x-content-type-options", b"nosniff")  # no answer is taken for a page, whatever a client put into it
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger()


class Routes(Protocol):
    """The API: tells whether a path is its own, and of which route it is."""

    def owns(self, path: str) -> bool: ...

    def route_of(self, path: str) -> str: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Edge:
    """An ASGI application around `api` and `pages`. `wrap` may put a layer around the answers, such as CORS."""

    def __init__(
        self,
        api: Routes,
        pages: ASGIApp,
        *,
        limits: BodyLimits,
        gate: Gate,
        discarding: Discarding,
        wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ) -> None:
        self._api = api
        self._pages = pages
        self._limits = limits
        self._page_limits = BodyLimits(DJANGO_BYTES, limits.min_bytes_per_second, limits.grace_seconds)
        self._gate = gate
        self._discarding = discarding
        self._answered = wrap(self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._api(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request's id and its log line, around everything that may become of it."""
        began = time.perf_counter()
        request_id = _request_id(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        is_api = self._api.owns(scope["path"])
        body = Body(scope, receive, self._limits if is_api else self._page_limits)
        line: dict[str, Any] = {"method": scope["method"], "path": scope["path"][:1024]}
        reply = _Reply(send, body, request_id, self._gate, is_api=is_api)
        scope["mentum.body"], scope["mentum.line"], scope["mentum.reply"] = body, line, reply
        try:
            await self._answer_always(scope, body, reply)
            seconds = round(time.perf_counter() - began, 4)
            _log.info("request", **line, status=reply.status, received=body.received, seconds=seconds)
            count(self._api.route_of(scope["path"]), scope["method"], reply.status)
            body.close()
            if not body.ended and not body.gone:
                await self._discarding.read_on(body)
        finally:  # the connection is closed when nobody has it any more
            body.let_go()
            reply.let_go()

    async def _answer_always(self, scope: Scope, body: Body, reply: "_Reply") -> None:
        """Also when a layer around `_answer` fails."""
        try:
            await self._answered(scope, body.next_message, reply.send)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            response = _crashed(scope, error)
            if not reply.status:
                await response(scope, body.next_message, reply.send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whatever happens becomes an answer, unless one has begun already."""
        line: dict[str, Any] = scope["mentum.line"]
        response = None
        request_id = scope["mentum.reply"].request_id
        try:
            look_at(scope)
            scope["mentum.body"].check_head()
            await (self._api if self._api.owns(scope["path"]) else self._pages)(scope, receive, send)
        except S3ApiMissingError as error:
            line["code"] = error.code
            response = s3_error(error, request_id)
        except UploadError as error:
            line["code"] = error.code
            response = problem(without_frames(error))
        except HTTPException as error:
            response = _unrouted(scope, error)
        except Exception as error:  # noqa: BLE001 - the last place where an answer can be given
            response = _crashed(scope, error)
        if response is not None and not scope["mentum.reply"].status:
            await response(scope, receive, send)


def _crashed(scope: Scope, error: Exception) -> Response:
    """The error goes to the log; what its frames hold is let go of."""
    line: dict[str, Any] = scope["mentum.line"]
    line["code"] = "internal_error"
    _log.error("request_crashed", method=line["method"], path=line["path"], exc_info=error)
    without_frames(error)
    detail = "The service met an error of its own; the log has it under this request's id."
    request_id = scope["mentum.reply"].request_id
    return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, line["code"], detail, request_id=request_id)


def _unrouted(scope: Scope, error: HTTPException) -> Response:
    """No path of ours, or not with this method."""
    line: dict[str, Any] = scope["mentum.line"]
    if error.status_code == HTTPStatus.NOT_FOUND:
        if seems_to_speak_s3(scope):
            line["code"] = S3ApiMissingError.code
            return s3_error(S3ApiMissingError(), scope["mentum.reply"].request_id)
        line["code"] = "no_such_resource"
        return problem_response(HTTPStatus.NOT_FOUND, line["code"], _NOTHING_HERE)
    line["code"] = "method_not_allowed"
    headers = dict(error.headers or {})
    return problem_response(HTTPStatus(error.status_code), line["code"], error.detail, headers=headers)


class _Reply:
    """What is sent back, with the headers that every answer has."""

    def __init__(self, send: Send, body: Body, request_id: str, gate: Gate, *, is_api: bool) -> None:
        self.status = 0
        self._is_api = is_api
        self.request_id = request_id
        self._send = send
        self._body = body
        self._gate = gate

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode())]
            if self._is_api or all(name != _NOSNIFF[0] for name, _ in headers):  # Django's pages have it
                headers.append(_NOSNIFF)
            # A body that was not read ends with its connection, or the next request would begin inside it.
            if self._gate.draining or not self._body.ended:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    def let_go(self) -> None:
        """Of the connection, whoever still holds this."""
        self._send = _unheard


async def _unheard(message: Message) -> None:
    """Nobody listens any more."""


def _request_id(scope: Scope) -> str:
    """The client's, if it is harmless in a log; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return new_file_id()
