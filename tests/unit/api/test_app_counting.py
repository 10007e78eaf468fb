"""`mentum_http_requests_total`, and what is told before anything happened: whatever is sent, the series are few."""

import platform
from collections.abc import Callable, Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from file.api.app import FROM_THE_START, PAGES
from file.api.endpoints.metrics import Metrics
from file.ledger.read.records import Records, Unfinished
from file.logic.errors import LedgerUnavailableError
from file.logic.values import ReplicaState
from file.s3.figures import OPERATIONS, RESULTS
from mentumfileupload import __version__
from testkit.faults.faults import Fault
from tests.service.conftest import Accounts, Proxied, serving
from tests.service.receipts import answer_when
from tests.serving import running
from tests.unit.api.expectations import three, until

Requests = Mapping[tuple[str, str, str], float]
Samples = Mapping[tuple[str, frozenset[str]], float]


async def samples(client: httpx.AsyncClient) -> Samples:
    """Name and labels' values to what is told."""
    families = text_string_to_metric_families((await client.get("/_/metrics")).text)
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


async def requests(client: httpx.AsyncClient) -> Requests:
    """Route, method and status to how many."""
    text = (await client.get("/_/metrics")).text
    counted = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "mentum_http_requests_total"
    ]
    return {(each.labels["route"], each.labels["method"], each.labels["status"]): each.value for each in counted}


def more(before: Requests, after: Requests) -> dict[tuple[str, str, str], float]:
    """Without the question itself."""
    grown = {labels: count - before.get(labels, 0) for labels, count in after.items()}
    return {labels: count for labels, count in grown.items() if count and labels[0] != "/_/metrics"}


async def counted(client: httpx.AsyncClient, before: Requests, expected: Requests) -> None:
    """A request counts once it has ended, which its client may see a little earlier."""
    await answer_when(lambda: requests(client), lambda after: more(before, after) == expected)


async def test_requests_are_counted_by_route_and_status_when_they_end() -> None:
    async with running(three(), max_request_bytes=1000) as service, service.client() as client:
        before = await requests(client)
        for path in ("/files/a", "/files/b/c%2Fd", "/files/%F0%9F%98%80"):
            assert (await client.put(path, content=b"x")).status_code == 201
        assert (await client.get("/files/a")).status_code == 200
        assert (await client.get("/files/nothing")).status_code == 404
        assert (await client.get("/receipts/nothing")).status_code == 404
        assert (await client.put("/files/t", content=b"", headers={"authorization": ""})).status_code == 401
        too_large = await client.post("/upload", content=b"x" * 1001)
        assert too_large.status_code == 413  # before it is routed
        assert (await client.patch("/files/a")).status_code == 405
        expected = {
            ("/files/{key}", "PUT", "201"): 3,
            ("/files/{key}", "GET", "200"): 1,
            ("/files/{key}", "GET", "404"): 1,
            ("/receipts/{id}", "GET", "404"): 1,
            ("/files/{key}", "PUT", "401"): 1,
            ("/upload", "POST", "413"): 1,
            ("/files/{key}", "PATCH", "405"): 1,
        }
        await counted(client, before, expected)


async def test_no_series_is_made_of_what_a_stranger_sends_when_paths_and_methods_are_odd() -> None:
    async with running(three()) as service, service.client() as client:
        before = await requests(client)
        for number in range(20):
            await client.get(f"/{number}.php")
            await client.get(f"/_/{number}")
            await client.get(f"/receipts/{number}/{number}")
            await client.request(f"BREW{number}", f"/files/{number}")
        expected = {
            (PAGES, "GET", "404"): 20,
            ("unknown", "GET", "404"): 40,
            ("/files/{key}", "other", "405"): 20,
        }
        await counted(client, before, expected)


async def test_the_statuses_that_are_there_from_the_start_are_of_routes_that_exist() -> None:
    async with running(three()) as service, service.client() as client:
        found = await requests(client)
        for (method, route), statuses in FROM_THE_START.items():
            assert all((route, method, status) in found for status in statuses.split())
            path = route.replace("{key}", "none").replace("{id}", "none")
            if route != PAGES:
                assert (await client.request(method, path)).status_code != 405, (method, route)


async def test_what_runs_is_told_when_the_metrics_are_asked_for() -> None:
    async with running(three()) as service, service.client() as client:
        found = await samples(client)
    assert found["mentum_build_info", frozenset((__version__, platform.python_version()))] == 1


async def test_everything_is_zero_and_not_away_when_the_service_has_just_started(accounts: Accounts) -> None:
    async with serving(*accounts.values()) as service, service.client() as client:
        found = await samples(client)
    for account in accounts:
        for state in ("pending", "blocked", "erasing"):
            assert found["mentum_replicas", frozenset((account, state))] == 0
            assert found["mentum_replica_age_seconds", frozenset((account, state))] == 0
        for operation in OPERATIONS:
            for result in RESULTS:
                assert ("mentum_s3_requests_total", frozenset((account, operation, result))) in found
        for operation in ("begin", "part", "publish", "remove"):
            assert ("mentum_s3_retries_total", frozenset((account, operation))) in found
        for result in ("brought", "found"):
            assert ("mentum_caught_up_replicas_total", frozenset((account, result))) in found
        for code in ("access_refused", "account_unreachable", "file_unreadable", "account_busy"):
            assert ("mentum_catch_up_failures_total", frozenset((account, code))) in found
            assert ("mentum_caught_up_total", frozenset((account, code))) in found
    for outcome in ("stored", "partial", "repeated", "failed", "refused", "busy", "crashed"):
        assert ("mentum_uploads_total", frozenset((outcome,))) in found


async def test_no_series_of_an_account_s_requests_is_new_when_it_is_in_trouble(
    accounts: Accounts, proxied: Proxied
) -> None:
    proxy = proxied("B")
    async with serving(accounts["A"], proxy.account) as service, service.client() as client:
        before = await samples(client)
        for code in ("SlowDown", "AccessDenied", "NoSuchBucket", "InternalError", "PermanentRedirect"):
            proxy.add(Fault.refuses(code, operation="put"))
            await client.put(f"/files/{code}", content=b"x")
        assert (await client.put("/files/large", content=b"x" * 6_000_000)).status_code in (201, 413)
        after = await samples(client)
    ours = {name for name in after if name[0] in ("mentum_s3_requests_total", "mentum_s3_retries_total")}
    assert ours <= set(before)
    assert any(after[name] > before[name] for name in ours)


class ScriptedRecords(Records):
    """Tell what they are told to tell."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Callable[[], list[Unfinished]] = list
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


def told(figures: Metrics, name: str) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["account"], sample.labels["state"]): sample.value
        for family in figures.collect()
        for sample in family.samples
        if sample.name == name
    }


async def test_a_series_ends_at_zero_when_nothing_waits_any_more_in_an_account_that_is_not_configured() -> None:
    records = ScriptedRecords()
    waiting = Unfinished(account="OLD", state=ReplicaState.PENDING, count=4, oldest_seconds=2.5)
    records.answer = lambda: [waiting]
    async with running(three()) as service:
        figures = Metrics(service.application.uploads, records, None, version="0", read_seconds=0.01)
        async with figures.serving(["A"]):
            assert told(figures, "mentum_replicas")["OLD", "pending"] == 4  # before anybody could ask
            assert told(figures, "mentum_replica_age_seconds")["OLD", "pending"] == 2.5
            assert told(figures, "mentum_replicas")["A", "blocked"] == 0
            records.answer = list
            await records.until_read()
            assert set(told(figures, "mentum_replicas").values()) == {0}
            assert ("OLD", "pending") in told(figures, "mentum_replicas")


def unread() -> list[Unfinished]:
    raise LedgerUnavailableError


async def test_nothing_is_made_up_when_the_ledger_is_not_read_any_more() -> None:
    records = ScriptedRecords()
    async with running(three()) as service:
        uploads = service.application.uploads
        figures = Metrics(uploads, records, None, version="0", read_seconds=0.01, stale_seconds=0.2)
        with capture_logs():
            records.answer = unread
            async with figures.serving(["A"]):
                assert told(figures, "mentum_replicas") == {}
                records.answer = list
                await until(lambda: told(figures, "mentum_replicas").get(("A", "pending")) == 0)
                records.answer = unread
                await until(lambda: told(figures, "mentum_replicas") == {})
                (read_at,) = [
                    sample.value
                    for family in figures.collect()
                    for sample in family.samples
                    if sample.name == "mentum_ledger_read_timestamp_seconds"
                ]
                assert read_at > 1_700_000_000
