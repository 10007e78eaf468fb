"""GET /_/metrics: the counters, and what is true at this moment, in Prometheus' text format.

With a token; or without one on an address of its own (`UPLOAD_METRICS_ADDRESS`), which is meant for the inside of a
network. The figures of the ledger are read every ten seconds, however often somebody asks.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from file.api.uploads import Uploads
from file.ledger.records import Records, Unfinished
from file.logic.errors import LedgerUnavailableError
from file.logic.metrics import REGISTRY

_log = structlog.get_logger()


async def metrics(request: Request) -> Response:
    """The endpoint."""
    request.app.uploads.access.name_of(request)
    return Response(generate_latest(request.app.metrics.registry), media_type=CONTENT_TYPE_LATEST)


class Metrics(Collector):
    """The figures of one application. `address`, host and port, serves them without a token, if it is given.

    `read_seconds`: how often the ledger is read.
    """

    def __init__(
        self, uploads: Uploads, records: Records, address: tuple[str, int] | None, *, read_seconds: float = 10.0
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._uploads = uploads
        self._records = records
        self._address = address
        self._read_seconds = read_seconds
        self._unfinished: Sequence[Unfinished] = ()

    def collect(self) -> Iterator[Metric]:
        """Called in any thread; touches nothing but memory."""
        yield from REGISTRY.collect()
        uploads = self._uploads
        for name, text, value in (
            ("mentum_uploads_in_flight", "Uploads under way.", uploads.gate.under_way),
            ("mentum_stragglers", "Accounts that go on after an upload's answer.", uploads.stragglers.under_way),
            ("mentum_memory_used_bytes", "What the parts of all uploads hold.", uploads.budget.used),
            ("mentum_memory_limit_bytes", "UPLOAD_MEMORY.", uploads.budget.total),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        count = GaugeMetricFamily("mentum_replicas", "Replicas that are not done.", labels=["account", "state"])
        oldest = GaugeMetricFamily("mentum_replica_age_seconds", "The oldest of them.", labels=["account", "state"])
        for entry in self._unfinished:
            count.add_metric([entry.account, entry.state.value], entry.count)
            oldest.add_metric([entry.account, entry.state.value], entry.oldest_seconds)
        yield count
        yield oldest

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Keep the ledger's figures fresh, and the address served, until the block ends."""
        server = None
        if self._address is not None:
            host, port = self._address
            server, thread = start_http_server(port, host, self.registry)
        reading = asyncio.create_task(self._read())
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.wait((reading,))
            if server is not None:
                await asyncio.to_thread(server.shutdown)
                server.server_close()
                thread.join()

    async def _read(self) -> None:
        while True:
            try:
                self._unfinished = await self._records.pending()
            except LedgerUnavailableError as error:
                _log.warning("metrics_unread", detail=error.detail)
            except Exception:  # noqa: BLE001 - what was read last would be told for ever
                _log.exception("metrics_crashed")
            await asyncio.sleep(self._read_seconds)
