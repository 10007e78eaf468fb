"""The API: which path leads where, and what begins and ends with the service."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from http import HTTPStatus

import structlog
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from file.api.counting import PAGES, UNKNOWN
from file.api.endpoints import delete, form, get, listing, metrics, probes, put
from file.api.uploads import Uploads
from file.logic.errors import MalformedRequestError
from file.logic.ports import StorageAccount

_log = structlog.get_logger()


class _Key(Convertor[str]):
    """Whatever follows, line breaks included: `put_file` says why a key is refused, a 404 would not."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("key", _Key())


Answer = Callable[[Request], Awaitable[Response]]
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")


class _Endpoint:
    """A function as an ASGI application. Starlette's own wrapper looks for handlers of errors around each message;
    here the outermost layer is the one place where an error becomes an answer.

    OPTIONS is answered for all of them alike, and asks for no token: it tells the methods that there are.
    """

    def __init__(self, answer: Answer, methods: Sequence[str]) -> None:
        self._answer = answer
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            response = _options(self._methods)
        else:
            response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)


def _route(path: str, answer: Answer, *methods: str) -> Route:
    told = [*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"]
    return Route(path, _Endpoint(answer, told), methods=told)


def _options(methods: Sequence[str]) -> Response:
    return Response(status_code=HTTPStatus.NO_CONTENT, headers={"allow": ", ".join(methods)})


async def _file(request: Request) -> Response:
    """One route, so that a refused method is told all that there are."""
    endpoints = {"PUT": put.put_file, "DELETE": delete.delete_file}
    return await endpoints.get(request.method, get.get_file)(request)


OpenBuckets = Callable[[], AbstractAsyncContextManager[Sequence[StorageAccount]]]


class Api:
    """An ASGI application. `open_buckets` gives the accounts' buckets for as long as the service runs."""

    def __init__(
        self,
        uploads: Uploads,
        readings: get.Readings,
        open_buckets: OpenBuckets,
        *,
        eraser: delete.Eraser,
        figures: metrics.Metrics,
        version: str,
    ) -> None:
        self.uploads = uploads
        self.readings = readings
        self.eraser = eraser
        self.metrics = figures
        self.version = version
        self.started = False
        self.account_states = probes.AccountStates()
        self._open_buckets = open_buckets
        self._router = Router(
            [
                # The one that most come for first; they are tried in turn.
                _route("/files/{key:key}", _file, "PUT", "GET", "DELETE"),
                _route("/upload", form.upload_form, "POST"),
                _route("/files", listing.list_files, "GET"),
                _route("/receipts/{id}", listing.get_receipt, "GET"),
                _route("/_/health", probes.health, "GET"),
                _route("/_/ready", probes.ready, "GET"),
                _route("/_/metrics", metrics.metrics, "GET"),
                _route("/_/accounts", probes.accounts, "GET"),
            ],
            redirect_slashes=False,
        )
        routes = [route for route in self._router.routes if isinstance(route, Route)]
        self._fixed = frozenset(route.path for route in routes if not route.param_convertors)
        self._templates = [(route.path_format, route.path_regex.match) for route in routes if route.param_convertors]

    def owns(self, path: str) -> bool:
        """Everything else is Django's. `*` is the target of a question about the server as a whole."""
        return path in ("/upload", "/files", "*") or path.startswith(("/files/", "/receipts/", "/_/"))

    def route_of(self, path: str) -> str:
        """The template of the path, by which its requests are counted; one name for all that have none."""
        if path in self._fixed:
            return path
        for template, matches in self._templates:
            if matches(path):
                return template
        return UNKNOWN if self.owns(path) else PAGES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["path"] == "*":
            if scope["method"] != "OPTIONS":
                raise MalformedRequestError("The target `*` is for OPTIONS only.")
            await _options(_METHODS)(scope, receive, send)
        else:
            scope["app"] = self
            await self._router(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with AsyncExitStack() as stack:
            try:
                buckets = await stack.enter_async_context(self._open_buckets())
            except Exception as error:  # noqa: BLE001 - told to the server, which ends
                _log.exception("start_failed")
                await send({"type": "lifespan.startup.failed", "message": repr(error)})
                return
            self.uploads.buckets = buckets
            self.readings.read_from(buckets)
            self.account_states.probed = tuple(buckets)
            self.started = True
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
            self.started = False
        await send({"type": "lifespan.shutdown.complete"})
