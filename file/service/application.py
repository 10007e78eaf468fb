"""The composition root: the API in front, Django's pages behind, and the background tasks.

`create_application` puts everything together from the settings. The server, external ASGI servers, and the tests call
it; no import creates anything. Leaves to others: what the parts do.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from django.db import DEFAULT_DB_ALIAS
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from file.api.app import Api
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
from file.logic.accounts.placement import Placement
from file.logic.accounts.registry import Connect, Registry
from file.service.accounts import s3_connector
from file.service.background import Background
from file.service.pages import django_pages
from file.service.settings import UploadSettings

_EXPOSED = (  # to pages of other sites, in addition to the headers that CORS always exposes
    *("x-request-id", "etag", "content-range", "content-disposition", "content-encoding", "repr-digest"),
    *("retry-after", "idempotent-replayed", "location", "accept-ranges", "allow", "www-authenticate"),
)


class Application:
    """The whole service as one ASGI application. Its public attributes are for tests and figures."""

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
        """Refuses new uploads, and waits for uploads under way, for stragglers, and for readers.

        A second call during the first one may give less time.
        """
        drain = asyncio.ensure_future(self._drain(seconds))
        self._drains.add(drain)
        await asyncio.shield(drain)

    async def until_drained(self) -> None:
        """Waits for the drain, before anything is closed that uploads need. Without an order there is no time."""
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


def create_application(
    settings: UploadSettings,
    *,
    connect: Connect | None = None,
    pages: ASGIApp | None = None,
    database: str = DEFAULT_DB_ALIAS,
    figures_seconds: float = 10.0,
    first_look_seconds: float = 20.0,
    discarding: Discarding | None = None,
) -> Application:
    """The service with these settings; Django must be set up before.

    `connect` gives an account's bucket (default: S3); `pages` answers all requests that are not for the API (default:
    Django). `database`: Django's alias of the ledger's database. `figures_seconds`: how often its figures are read.
    `first_look_seconds`: the ledger is compared with the accounts for the first time within this time.
    """
    auth = Auth(settings.tokens, open=settings.open, hosts=settings.allowed_hosts, origins=settings.cors_origins)
    limits, version, hashes = settings.limits, settings.version, account_hashes()
    ledger = DatabaseLedger(
        database,
        lease_seconds=settings.lease_seconds,
        wait_seconds=limits.wait_seconds,
        settle_seconds=limits.settle_seconds,
    )
    registry = Registry(settings.accounts)
    placement = Placement(registry, ack=settings.ack, read_order=settings.read_order)
    uploads = Uploads(
        settings.max_uploads, share=auth.share, placement=placement, limits=limits, ledger=ledger, hashes=hashes
    )
    records = Records(database)
    background = Background(
        settings, placement, ledger, records, database, uploads.budget, hashes, first_look_seconds=first_look_seconds
    )

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        """Opens the accounts and the ledger, and starts the background tasks."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(registry.connected(connect or s3_connector(settings)))
            await stack.enter_async_context(ledger)
            stack.push_async_callback(records.close)
            await stack.enter_async_context(metrics.serving(registry.names))
            await background.begin()
            stack.push_async_callback(background.end)
            stack.push_async_callback(application.until_drained)
            yield

    metrics = Metrics(uploads, records, settings.metrics_address, version=version, read_seconds=figures_seconds)
    rate, grace = settings.min_bytes_per_second, settings.client_grace_seconds
    reader_limits = ReaderLimits(limits.readers, auth.share, limits.wait_seconds, rate, grace)
    readings = Readings(records, reader_limits, placement)
    api = Api(auth, uploads, readings, registry, opened, eraser=background, figures=metrics, version=version)
    discarding = discarding or Discarding()
    body_limits = BodyLimits(settings.max_request_bytes, rate, grace)
    wrap = partial(_with_cors, settings.cors_origins)
    asgi = Middleware(api, pages or django_pages(), limits=body_limits, discarding=discarding, wrap=wrap)
    application = Application(api, ledger, discarding, asgi)
    return application


def _with_cors(origins: Sequence[str], asgi: ASGIApp) -> ASGIApp:
    """Adds a layer that permits requests from pages of these sites; without sites it adds none."""
    if not origins:
        return asgi
    return CORSMiddleware(
        asgi,
        allow_origins=origins,
        allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
