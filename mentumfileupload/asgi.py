"""The composition root: the API in front, Django behind, and what begins and ends with the service.

`application` is what the server runs. `compose` builds one of other parts; the tests use it with memory buckets.
"""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import cast
from urllib.parse import unquote_to_bytes

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mentumfileupload.settings")

import django

django.setup()  # before the models are imported

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.urls import Resolver404, resolve
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from file.api.admission import Admission
from file.api.app import AccountBucket, Api, OpenBuckets
from file.api.auth import Auth
from file.api.body import BodyLimits
from file.api.discarding import Discarding
from file.api.endpoints.get import ReaderLimits, Readings
from file.api.endpoints.metrics import Metrics
from file.api.middleware import Middleware
from file.api.uploads import Uploads
from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.keyed import account_hashes
from file.ledger.read.records import Records
from file.logic.errors import MalformedRequestError
from file.s3.bucket import S3Bucket
from file.s3.client import Network, S3Client
from file.service.background import Background
from mentumfileupload import __version__
from mentumfileupload.config.uploadsettings import UploadSettings

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_EXPOSED = (  # to pages of other sites; what CORS exposes anyway is not here
    *("x-request-id", "etag", "content-range", "content-disposition", "content-encoding", "repr-digest"),
    *("retry-after", "idempotent-replayed", "location", "accept-ranges", "allow", "www-authenticate"),
)


class Application:
    """The whole service as one ASGI application. Its public attributes are for a look inside."""

    def __init__(self, api: Api, ledger: DatabaseLedger, discarding: Discarding, asgi: ASGIApp) -> None:
        self.routes = api.routes
        self.uploads = api.uploads
        self.ledger = ledger
        self.discarding = discarding
        self.readings = api.readings
        self._asgi = asgi
        self._drains: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._asgi(scope, receive, send)

    async def drain(self, seconds: float) -> None:
        """Let no upload in any more; wait for those under way, for what goes on after their answers, for readers.

        Again while it goes on: with less time.
        """
        drain = asyncio.ensure_future(self._drain(seconds))
        self._drains.add(drain)
        await asyncio.shield(drain)

    async def until_drained(self) -> None:
        """Before anything is closed that uploads need. Who ends the service without draining it has no time left."""
        if not self._drains:
            await self.drain(0)
        await asyncio.wait(self._drains)

    async def _drain(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        reading = asyncio.ensure_future(self.readings.drain(seconds))
        await self.uploads.admission.drain(seconds)
        await self.uploads.stragglers.drain(max(0.0, end - time.monotonic()))
        await reading
        self.discarding.end_soon()


def compose(
    upload: UploadSettings,
    pages: ASGIApp,
    open_buckets: OpenBuckets,
    *,
    database: str,
    figures_seconds: float = 10.0,
    first_look_seconds: float = 20.0,
    discarding: Discarding | None = None,
) -> Application:
    """Put the parts together. `database` is Django's alias of the ledger's, whose figures are read so often.

    `first_look_seconds`: at most so long after the start the ledger is first compared with the accounts.
    """
    auth = Auth(upload.tokens, open=upload.open, hosts=upload.allowed_hosts, origins=upload.cors_origins)
    admission = Admission(upload.max_uploads, share=auth.share)
    hashes = account_hashes()
    ledger = _ledger(upload, database)
    uploads = Uploads(
        admission=admission, share=auth.share, ack=upload.ack, limits=upload.limits, ledger=ledger, hashes=hashes
    )
    records = Records(database)
    background = Background(
        ledger,
        records,
        database,
        limits=upload.limits,
        budget=uploads.budget,
        lease_seconds=upload.lease_seconds,
        concurrency=upload.catchup_concurrency,
        read_order=upload.read_order,
        verified_a_day=upload.verified_a_day,
        retire=uploads.retire,
        first_look_seconds=first_look_seconds,
        hashes=hashes,
    )

    @asynccontextmanager
    async def opened() -> AsyncIterator[Sequence[AccountBucket]]:
        """The accounts, the ledger, and what goes on between them."""
        async with AsyncExitStack() as stack:
            buckets = await stack.enter_async_context(open_buckets())
            await stack.enter_async_context(ledger)
            stack.push_async_callback(records.close)
            await stack.enter_async_context(metrics.serving([bucket.account.name for bucket in buckets]))
            await background.begin(buckets)
            try:
                yield buckets
            finally:
                await application.until_drained()
                await background.end()

    metrics = Metrics(uploads, records, upload.metrics_address, version=__version__, read_seconds=figures_seconds)
    readings = Readings(records, _reader_limits(upload, auth), order=upload.read_order)
    api = Api(auth, uploads, readings, opened, eraser=background, figures=metrics, version=__version__)
    limits = BodyLimits(upload.max_request_bytes, upload.min_bytes_per_second, upload.client_grace_seconds)
    discarding = discarding or Discarding()
    wrap = partial(_with_cors, upload.cors_origins)
    asgi = Middleware(api, pages, limits=limits, admission=admission, discarding=discarding, wrap=wrap)
    application = Application(api, ledger, discarding, asgi)
    return application


def _ledger(upload: UploadSettings, database: str) -> DatabaseLedger:
    return DatabaseLedger(
        database,
        lease_seconds=upload.lease_seconds,
        wait_seconds=upload.limits.wait_seconds,
        settle_seconds=upload.limits.settle_seconds,
    )


def _reader_limits(upload: UploadSettings, auth: Auth) -> ReaderLimits:
    return ReaderLimits(
        at_once=upload.limits.readers,
        share=auth.share,
        wait_seconds=upload.limits.wait_seconds,
        min_bytes_per_second=upload.min_bytes_per_second,
        grace_seconds=upload.client_grace_seconds,
    )


def _with_cors(origins: Sequence[str], asgi: ASGIApp) -> ASGIApp:
    """The layer that lets pages of these sites in; none where there are no such sites."""
    if not origins:
        return asgi
    return CORSMiddleware(
        asgi,
        allow_origins=origins,
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )


def s3_buckets(upload: UploadSettings) -> OpenBuckets:
    """The accounts' buckets, each with connections of its own."""
    ca_pem = Path(upload.ca_file).read_bytes() if upload.ca_file else None
    network = Network(https_proxy=upload.https_proxy, no_proxy=upload.no_proxy, ca_pem=ca_pem)

    @asynccontextmanager
    async def open_buckets() -> AsyncIterator[Sequence[S3Bucket]]:
        async with AsyncExitStack() as stack:
            buckets = []
            for account in upload.accounts:
                client = S3Client(account, network)
                stack.push_async_callback(client.close)
                limits, requests = upload.limits, upload.account_requests
                buckets.append(
                    S3Bucket(client, requests=requests, reads=limits.readers, stall_seconds=limits.stall_seconds)
                )
            yield buckets

    return open_buckets


# Django's and Starlette's types for the same ASGI differ in letter only.
_django = cast(ASGIApp, get_asgi_application())


def _is_malformed(raw_path: bytes) -> bool:
    """Whether it is no percent-encoded UTF-8, or has control characters."""
    try:
        path = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        return True
    return _CONTROLS.search(path) is not None


async def _page(scope: Scope, receive: Receive, send: Send) -> None:
    """A page of Django's. What is none must not get there: it would answer in HTML, and log a line of its own.

    Nor what no page has in its address, and a database or Django's own code may stumble over.
    """
    if _is_malformed(scope["raw_path"]) or b"%00" in scope["query_string"]:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    try:
        resolve(scope["path"])
        ASGIRequest(scope, BytesIO()).get_host()
    except Resolver404:
        raise HTTPException(HTTPStatus.NOT_FOUND) from None
    except DisallowedHost:
        raise MalformedRequestError("The header Host names none of ALLOWED_HOSTS, which pages are for.") from None
    await _django(scope, receive, send)


# The admin's own files, which Django does not serve with DEBUG off.
_files = StaticFiles(packages=[("django.contrib.admin", "static")])


async def _static(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": "GET, HEAD"})
    # They go out whole: a range that cannot be read would be answered in plain text.
    headers = [field for field in scope["headers"] if field[0] != b"range"]
    await _files({**scope, "headers": headers}, receive, send)


_pages = Router([Mount("/static", _static)], redirect_slashes=False, default=_page)
application = compose(settings.UPLOAD, _pages, s3_buckets(settings.UPLOAD), database="default")
