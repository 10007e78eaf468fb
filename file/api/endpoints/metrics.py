"""GET /_/metrics: counters and gauges in Prometheus' text format.

With a token; or without one at an address of its own (`UPLOAD_METRICS_ADDRESS`), for the inside of a network. The
figures of the ledger are read every ten seconds, however often a client asks. They are those of the ledger, not of this
process: all processes with the same ledger have the same figures, zeros included. Figures that are older than a minute
are left out, because they may be wrong.
"""

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.responses import Response

from file import metrics as counters
from file.api.endpoints.metricslistener import MetricsListener
from file.api.requests import Request
from file.api.uploads import Uploads
from file.ledger.read.records import Records, Unfinished
from file.logic.errors import LedgerUnavailableError
from file.logic.values import ReplicaState

_STATES = (ReplicaState.PENDING, ReplicaState.BLOCKED, ReplicaState.ERASING)
_BUILD_LABELS = ("version", "python_version")
_log = structlog.get_logger()


async def metrics(request: Request, *, registry: CollectorRegistry) -> Response:
    # The text takes some milliseconds. Uploads must not wait for it.
    text = await asyncio.to_thread(generate_latest, registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


class Metrics(Collector):
    """The figures of one application. If `address` (host and port) is given, it serves them without a token.

    `version` is that of the service. The ledger is read every `read_seconds`. Its figures are valid for
    `stale_seconds`.
    """

    def __init__(
        self,
        uploads: Uploads,
        records: Records,
        address: tuple[str, int] | None,
        *,
        version: str,
        read_seconds: float = 10.0,
        stale_seconds: float = 60.0,
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._uploads = uploads
        self._records = records
        self._address = address
        self._version = version
        self._read_seconds = read_seconds
        self._stale_seconds = stale_seconds
        self._accounts: frozenset[str] = frozenset()
        self._unfinished: Sequence[Unfinished] = ()
        self._is_behind = False
        self._read_at = 0.0
        self._stale_after = float("-inf")

    def collect(self) -> Iterator[Metric]:
        """Called in any thread; only reads memory."""
        yield from counters.REGISTRY.collect()
        build = GaugeMetricFamily("mentum_build_info", "1; its labels tell what runs.", labels=_BUILD_LABELS)
        build.add_metric([self._version, platform.python_version()], 1)
        yield build
        uploads = self._uploads
        for name, text, value in (
            ("mentum_uploads_in_flight", "Uploads under way.", uploads.admission.under_way),
            ("mentum_stragglers", "Accounts that go on after an upload's answer.", uploads.stragglers.under_way),
            ("mentum_memory_used_bytes", "What the parts of all uploads hold.", uploads.budget.used),
            ("mentum_memory_limit_bytes", "UPLOAD_MEMORY.", uploads.budget.total),
            ("mentum_ledger_read_timestamp_seconds", "When the ledger's figures were last read.", self._read_at),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        yield self._left_alone()
        yield from self._of_the_ledger()

    def _left_alone(self) -> Metric:
        registry = self._uploads.placement.registry
        family = GaugeMetricFamily(
            "mentum_account_left_alone", "1 while background work waits for it.", labels=["account"]
        )
        left_alone = registry.left_alone
        for storage in registry.storages:
            family.add_metric([storage.account.name], storage.account.name in left_alone)
        return family

    def _of_the_ledger(self) -> Iterator[Metric]:
        labels = ["account", "state"]
        of_ledger = "Of the ledger, not of the process: take the max of the processes, not their sum."
        count = GaugeMetricFamily("mentum_replicas", f"Replicas that are not done. {of_ledger}", labels=labels)
        oldest = GaugeMetricFamily(
            "mentum_replica_age_seconds", f"The age of the oldest of them. {of_ledger}", labels=labels
        )
        behind = GaugeMetricFamily("mentum_ledger_behind", f"1: the ledger is an older copy. {of_ledger}")
        if time.monotonic() <= self._stale_after:
            behind.add_metric([], self._is_behind)
            found = {(entry.account, entry.state): entry for entry in self._unfinished}
            for account, state in sorted({*product(self._accounts, _STATES), *found}):
                entry = found.get((account, state))
                count.add_metric([account, state.value], entry.count if entry else 0)
                oldest.add_metric([account, state.value], entry.oldest_seconds if entry else 0)
        yield behind
        yield count
        yield oldest

    @asynccontextmanager
    async def serving(self, accounts: Sequence[str]) -> AsyncIterator[None]:
        """Refresh the ledger's figures, and serve the address, until the block ends. `accounts` are the names."""
        for account in accounts:
            counters.begin(account)
        self._accounts = frozenset(accounts)
        await self._read()
        async with AsyncExitStack() as stack:
            if self._address is not None:
                await stack.enter_async_context(MetricsListener(self.registry).serving(*self._address))
            reading = asyncio.create_task(self._keep_reading())
            try:
                yield
            finally:
                reading.cancel()
                await asyncio.wait((reading,))

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(self._read_seconds)
            await self._read()

    async def _read(self) -> None:
        try:
            self._is_behind = await self._records.is_behind()
            self._unfinished = await self._records.pending()
        except LedgerUnavailableError as error:
            _log.warning("metrics_unread", detail=error.detail)
        except Exception:  # noqa: BLE001 - the figures that were read last stay valid until they are stale
            _log.exception("metrics_crashed")
        else:
            # An account that is not configured any more stays, so that its figures end at zero.
            self._accounts |= {entry.account for entry in self._unfinished}
            self._read_at = time.time()
            self._stale_after = time.monotonic() + self._stale_seconds
