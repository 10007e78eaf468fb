"""GET /_/metrics: who may read them, and that they are true."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from file.api.endpoints.metrics import Metrics
from file.ledger.read.records import Records, Unfinished
from file.logic.errors import LedgerUnavailableError
from file.logic.values import Ack, ReplicaState
from testkit.faults.faults import Fault
from testkit.ports import free_port
from tests.service.conftest import Accounts, Proxied, serving
from tests.service.receipts import answer_when
from tests.service.sizes import MANY_PARTS, ONE_PART, SHORT, content
from tests.serving import PLAIN, Running, running
from tests.unit.api.expectations import assert_problem, memory_service, three, until
from tests.unit.api.figures import Figures, Series, figures_of, grown, growth, parsed, read, series, value


def requests_between(before: Figures, after: Figures) -> Series:
    """Account, operation and result to the number of requests."""
    return growth(before, after, "mentum_s3_requests_total", "account", "operation", "result")


async def until_counted(client: httpx.AsyncClient, before: Figures, expected: Series) -> Figures:
    """A request counts when it has ended; its client may have the answer a little earlier."""
    return await answer_when(lambda: read(client), lambda after: requests_between(before, after) == expected)


async def test_no_token_is_needed_when_the_metrics_have_an_address_of_their_own() -> None:
    port = free_port()
    async with (
        running(three(), metrics_address=("127.0.0.1", port)) as service,
        httpx.AsyncClient(**PLAIN) as client,
        service.client() as uploading,
    ):
        before = parsed((await client.get(f"http://127.0.0.1:{port}/metrics")).text)
        assert (await uploading.put("/files/k", content=b"x")).status_code == 201
        after = parsed((await client.get(f"http://127.0.0.1:{port}/metrics")).text)
        assert grown(before, after, "mentum_uploads_total", outcome="stored") == 1
        assert_problem(await uploading.get("/_/metrics", headers={"authorization": ""}), 401, "token_missing")
    async with httpx.AsyncClient(**PLAIN) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/metrics")


async def test_uploads_are_counted_by_outcome_when_they_end() -> None:
    async with memory_service(max_uploads=1) as service, service.client() as client:
        before = await read(client)
        statuses = [
            (await client.put("/files/k", content=b"12345")).status_code,
            (await client.put("/files/k", content=b"12345")).status_code,
            (await client.put("/files/k", content=b"other")).status_code,
            (await client.post("/upload", content=b"", headers={"content-type": "text/plain"})).status_code,
        ]
        assert statuses == [201, 200, 409, 415]
        faults = service.buckets[1].faults
        faults["refuses_put"] = 9
        assert (await client.put("/files/k2", content=b"x")).status_code == 502
        partial = await client.put("/files/k3", content=b"123", headers={"upload-ack": "any"})
        assert partial.status_code == 202
        faults.clear()
        after = await read_after_a_busy_answer(service.service, client)
        for outcome, number in {"stored": 2, "partial": 1, "repeated": 1, "refused": 1, "failed": 1, "busy": 1}.items():
            assert grown(before, after, "mentum_uploads_total", outcome=outcome) == number, outcome
        assert grown(before, after, "mentum_upload_bytes_total") == 5 + 3 + 1
        assert grown(before, after, "mentum_upload_seconds_count") == 7
        # A claim and an outcome each, at least; what comes at once is one commit.
        assert grown(before, after, "mentum_ledger_commit_entries_sum") >= 8
        assert grown(before, after, "mentum_ledger_commit_seconds_count") > 0


async def read_after_a_busy_answer(service: Running, client: httpx.AsyncClient) -> Figures:
    """One upload is held up, and the next one finds no room; the gauges show it meanwhile."""
    going_on = asyncio.Event()

    async def body() -> Any:
        yield b"x"
        await going_on.wait()

    first = asyncio.create_task(client.put("/files/held", content=body()))
    uploads = service.application.uploads
    await until(lambda: uploads.admission.under_way == 1 and uploads.budget.used > 0)
    meanwhile = await read(client)
    assert (await client.put("/files/no", content=b"x")).status_code == 503
    assert value(meanwhile, "mentum_uploads_in_flight") == 1
    assert value(meanwhile, "mentum_memory_used_bytes") == uploads.budget.used > 0
    assert value(meanwhile, "mentum_memory_limit_bytes") == uploads.budget.total
    going_on.set()
    assert (await first).status_code == 201
    after = await read(client)
    assert value(after, "mentum_uploads_in_flight") == value(after, "mentum_memory_used_bytes") == 0
    return after


async def test_requests_are_counted_by_account_and_operation_when_all_is_well(accounts: Accounts) -> None:
    async with serving(*accounts.values()) as service, service.client() as client:
        before = await read(client)
        assert (await client.put("/files/one", content=content(ONE_PART))).status_code == 201
        assert (await client.put("/files/many", content=content(MANY_PARTS))).status_code == 201
        after = await read(client)
        operations = {"put": 1, "head": 1, "begin": 1, "part": 2, "complete": 1}
        made: Series = {(name, each, "ok"): number for name in "ABC" for each, number in operations.items()}
        assert requests_between(before, after) == made
        for operation in ("put", "part"):
            labels = {"account": "B", "operation": operation}
            count = grown(before, after, "mentum_s3_request_seconds_count", **labels)
            assert count == made["B", operation, "ok"]
            assert grown(before, after, "mentum_s3_request_seconds_sum", **labels) > 0
        assert (await client.get("/files/many")).content == content(MANY_PARTS)
        read_too = await until_counted(client, before, {**made, ("A", "get", "ok"): 1})
        assert grown(after, read_too, "mentum_s3_request_seconds_count", account="A", operation="get") == 1


async def test_requests_are_counted_by_fault_when_an_account_fails(accounts: Accounts, proxied: Proxied) -> None:
    proxy = proxied("B")
    async with serving(proxy.account, accounts["C"], **SHORT) as service, service.client() as client:
        before = await read(client)
        proxy.add(Fault.refuses("SlowDown", operation="put", times=2))
        assert (await client.put("/files/retried", content=b"x")).status_code == 201
        after = await read(client)
        made = {("B", "put", "account_throttled"): 2, ("B", "put", "ok"): 1, ("C", "put", "ok"): 1}
        assert requests_between(before, after) == made
        assert grown(before, after, "mentum_s3_retries_total", account="B", operation="publish") == 2
        proxy.add(Fault.damages_body(operation="put"))  # sent again below the lane: two requests all the same
        assert (await client.put("/files/damaged", content=b"x" * 99)).status_code == 201
        again = await read(client)
        damaged = requests_between(after, again)
        assert (sum(damaged.values()), damaged["B", "put", "ok"], len(damaged)) == (3, 1, 3)
        proxy.add(Fault.stalls(operation="put"))
        assert (await client.put("/files/stalled", content=b"x")).status_code == 502
        stalled = requests_between(again, await read(client))
        assert stalled["B", "put", "cut_off"] == 1
        proxy.add(Fault.refuses("AccessDenied", operation="get"))
        last = await read(client)
        assert (await client.get("/files/retried")).content == b"x"
        await until_counted(client, last, {("B", "get", "access_refused"): 1, ("C", "get", "ok"): 1})


async def test_pending_replicas_have_an_age_when_an_account_is_down(accounts: Accounts, proxied: Proxied) -> None:
    down = proxied("B")
    down.refuse_connections()
    settings: dict[str, Any] = {**SHORT, "ack": Ack("any"), "figures_seconds": 0.1}
    async with serving(accounts["A"], down.account, **settings) as service, service.client() as client:
        for number in range(3):
            assert (await client.put(f"/files/k{number}", content=b"x")).status_code == 202
        labels = {"account": "B", "state": "pending"}
        figures = await answer_when(lambda: read(client), lambda now: value(now, "mentum_replicas", **labels) == 3)
        age = value(figures, "mentum_replica_age_seconds", **labels)
        assert 0 <= age < 60
        await answer_when(lambda: read(client), lambda now: value(now, "mentum_replica_age_seconds", **labels) > age)
        assert value(figures, "mentum_replicas", account="A", state="pending") == 0


class ScriptedRecords(Records):
    """Its `answer` may be replaced; `read` counts how often it was asked."""

    def __init__(self, answer: Callable[[], list[Unfinished]] = list) -> None:
        super().__init__()
        self.answer = answer
        self.read = 0

    async def pending(self) -> list[Unfinished]:
        self.read += 1
        return self.answer()

    async def is_behind(self) -> bool:
        return False

    async def until_read(self) -> None:
        """Once more, to the end."""
        before = self.read
        await until(lambda: self.read > before + 1)


def metrics_of(service: Running, records: Records, **options: Any) -> Metrics:
    return Metrics(service.application.uploads, records, None, version="0", read_seconds=0.01, **options)


def replicas(metrics: Metrics, name: str = "mentum_replicas") -> Series:
    return series(figures_of(metrics.collect()), name, "account", "state")


async def test_a_series_ends_at_zero_when_nothing_waits_any_more_in_an_account_that_is_not_configured() -> None:
    waiting = Unfinished(account="OLD", state=ReplicaState.PENDING, count=4, oldest_seconds=2.5)
    records = ScriptedRecords(lambda: [waiting])
    async with running(three()) as service:
        metrics = metrics_of(service, records)
        async with metrics.serving(["A"]):
            assert replicas(metrics)["OLD", "pending"] == 4  # before the first request for them
            assert replicas(metrics, "mentum_replica_age_seconds")["OLD", "pending"] == 2.5
            assert replicas(metrics)["A", "blocked"] == 0
            records.answer = list
            await records.until_read()
            assert set(replicas(metrics).values()) == {0}
            assert ("OLD", "pending") in replicas(metrics)


def unread() -> list[Unfinished]:
    raise LedgerUnavailableError


async def test_no_number_is_exported_when_the_ledger_is_not_read_any_more() -> None:
    records = ScriptedRecords(unread)
    async with running(three()) as service:
        metrics = metrics_of(service, records, stale_seconds=0.2)
        with capture_logs():
            async with metrics.serving(["A"]):
                assert replicas(metrics) == {}
                records.answer = list
                await until(lambda: replicas(metrics).get(("A", "pending")) == 0)
                records.answer = unread
                await until(lambda: replicas(metrics) == {})
                assert value(figures_of(metrics.collect()), "mentum_ledger_read_timestamp_seconds") > 1_700_000_000


async def test_the_ledger_is_read_again_when_reading_it_crashed() -> None:
    def crashing() -> list[Unfinished]:
        records.answer = list
        raise ZeroDivisionError

    records = ScriptedRecords(crashing)
    async with running(three()) as service:
        with capture_logs() as logs:
            async with metrics_of(service, records).serving("A"):
                await until(lambda: records.read > 2)
        assert [line["event"] for line in logs if line["log_level"] == "error"] == ["metrics_crashed"]


async def test_nothing_goes_on_when_the_metrics_address_cannot_be_had() -> None:
    async with running(three()) as service:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            records = Records(service.database)
            figures = Metrics(service.application.uploads, records, taken.getsockname(), version="0")
            before = asyncio.all_tasks()
            with pytest.raises(OSError, match="in use"):
                async with figures.serving("A"):
                    pytest.fail("It is served.")
            assert asyncio.all_tasks() <= before
            await records.close()
