"""The composition root: the API in front, Django behind, and what begins and ends with the service.

`application` is what the server runs. `compose` builds one of other parts; the tests use it with memory buckets.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mentumfileupload.settings")

from django.conf import settings
from django.core.asgi import get_asgi_application
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from file.api.access import Access
from file.api.body import BodyLimits
from file.api.edge import Edge
from file.api.gate import Gate
from file.api.routes import Api, OpenBuckets
from file.api.uploads import Uploads
from file.ledger.claims import ProcessClaims
from file.s3.bucket import S3Bucket
from file.s3.client import Network, S3Client
from mentumfileupload import __version__
from mentumfileupload.uploadsettings import UploadSettings


class Application:
    """The whole service as one ASGI application. `gate` is for whoever has to end it, `uploads` for a look inside."""

    def __init__(self, uploads: Uploads, asgi: ASGIApp) -> None:
        self.uploads = uploads
        self.gate = uploads.gate
        self._asgi = asgi

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._asgi(scope, receive, send)


def compose(upload: UploadSettings, pages: ASGIApp, open_buckets: OpenBuckets) -> Application:
    """Put the parts together."""
    gate = Gate(upload.max_uploads)
    uploads = Uploads(
        access=Access(upload.tokens, open=upload.open), gate=gate, limits=upload.limits, ledger=ProcessClaims()
    )
    api = Api(uploads, open_buckets, version=__version__)
    limits = BodyLimits(upload.max_request_bytes, upload.min_bytes_per_second, upload.client_grace_seconds)

    def with_cors(asgi: ASGIApp) -> ASGIApp:
        return CORSMiddleware(
            asgi,
            allow_origins=upload.cors_origins,
            allow_methods=["POST", "PUT"],
            allow_headers=["*"],
            expose_headers=["x-request-id"],
        )

    asgi = Edge(api, pages, limits=limits, gate=gate, wrap=with_cors if upload.cors_origins else lambda asgi: asgi)
    return Application(uploads, asgi)


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
                buckets.append(S3Bucket(client, requests=upload.account_requests))
            yield buckets

    return open_buckets


# Django's and Starlette's types for the same ASGI differ in letter only.
_pages = cast(ASGIApp, get_asgi_application())
application = compose(settings.UPLOAD, _pages, s3_buckets(settings.UPLOAD))
