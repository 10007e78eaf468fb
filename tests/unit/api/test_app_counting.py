"""`mentum_http_requests_total`, and the series that exist from the start: their number does not depend on requests."""

import platform
from collections.abc import Sequence
from itertools import product

import httpx

from file.api.app import FROM_THE_START, PAGES
from file.s3.figures import OPERATIONS, RESULTS
from mentumfileupload import __version__
from testkit.faults.faults import Fault
from tests.service.conftest import Accounts, Proxied, serving
from tests.service.receipts import answer_when
from tests.serving import running
from tests.unit.api.expectations import three
from tests.unit.api.figures import Figures, Series, growth, read, series, value

HTTP = ("mentum_http_requests_total", "route", "method", "status")


def requests_between(before: Figures, after: Figures) -> Series:
    """Route, method and status to the number of requests, without those for the metrics."""
    return {key: count for key, count in growth(before, after, *HTTP).items() if key[0] != "/_/metrics"}


async def until_counted(client: httpx.AsyncClient, before: Figures, expected: Series) -> None:
    """A request counts when it has ended; its client may have the answer a little earlier."""
    await answer_when(lambda: read(client), lambda after: requests_between(before, after) == expected)


async def test_requests_are_counted_by_route_and_status_when_they_end() -> None:
    async with running(three(), max_request_bytes=1000) as service, service.client() as client:
        before = await read(client)
        for path in ("/files/a", "/files/b/c%2Fd", "/files/%F0%9F%98%80"):
            assert (await client.put(path, content=b"x")).status_code == 201
        assert (await client.get("/files/a")).status_code == 200
        assert (await client.get("/files/nothing")).status_code == 404
        assert (await client.get("/receipts/nothing")).status_code == 404
        assert (await client.put("/files/t", content=b"", headers={"authorization": ""})).status_code == 401
        too_large = await client.post("/upload", content=b"x" * 1001)
        assert too_large.status_code == 413  # before it is routed
        assert (await client.patch("/files/a")).status_code == 405
        expected: Series = {
            ("/files/{key}", "PUT", "201"): 3,
            ("/files/{key}", "GET", "200"): 1,
            ("/files/{key}", "GET", "404"): 1,
            ("/receipts/{id}", "GET", "404"): 1,
            ("/files/{key}", "PUT", "401"): 1,
            ("/upload", "POST", "413"): 1,
            ("/files/{key}", "PATCH", "405"): 1,
        }
        await until_counted(client, before, expected)


async def test_the_series_stay_few_when_paths_and_methods_are_odd() -> None:
    async with running(three()) as service, service.client() as client:
        before = await read(client)
        for number in range(20):
            await client.get(f"/{number}.php")
            await client.get(f"/_/{number}")
            await client.get(f"/receipts/{number}/{number}")
            await client.request(f"BREW{number}", f"/files/{number}")
        expected: Series = {
            (PAGES, "GET", "404"): 20,
            ("unknown", "GET", "404"): 40,
            ("/files/{key}", "other", "405"): 20,
        }
        await until_counted(client, before, expected)


async def test_the_statuses_that_are_there_from_the_start_are_of_routes_that_exist() -> None:
    async with running(three()) as service, service.client() as client:
        found = series(await read(client), *HTTP)
        for (method, route), statuses in FROM_THE_START.items():
            assert all((route, method, status) in found for status in statuses.split())
            path = route.replace("{key}", "none").replace("{id}", "none")
            if route != PAGES:
                assert (await client.request(method, path)).status_code != 405, (method, route)


CODES = ("access_refused", "account_unreachable", "file_unreadable", "account_busy")
OF_EACH_ACCOUNT: dict[str, Sequence[tuple[str, ...]]] = {
    "mentum_s3_requests_total": [*product(OPERATIONS, RESULTS)],
    "mentum_s3_retries_total": [(operation,) for operation in ("begin", "part", "publish", "remove")],
    "mentum_caught_up_replicas_total": [("brought",), ("found",)],
    "mentum_catch_up_failures_total": [(code,) for code in CODES],
    "mentum_caught_up_total": [(code,) for code in CODES],
}


async def test_every_series_exists_when_the_service_has_just_started(accounts: Accounts) -> None:
    async with serving(*accounts.values()) as service, service.client() as client:
        figures = await read(client)
    assert value(figures, "mentum_build_info", version=__version__, python_version=platform.python_version()) == 1
    zeros = {(account, state): 0.0 for account in accounts for state in ("pending", "blocked", "erasing")}
    for name in ("mentum_replicas", "mentum_replica_age_seconds"):
        assert zeros.items() <= series(figures, name, "account", "state").items()
    outcomes = {(each,) for each in ("stored", "partial", "repeated", "failed", "refused", "busy", "crashed")}
    assert outcomes <= series(figures, "mentum_uploads_total", "outcome").keys()
    found = {(name, frozenset(dict(labels).values())) for name, labels in figures}
    for name, each in OF_EACH_ACCOUNT.items():
        assert {(name, frozenset((account, *labels))) for account in accounts for labels in each} <= found


async def test_no_series_of_an_account_is_new_when_it_is_in_trouble(accounts: Accounts, proxied: Proxied) -> None:
    proxy = proxied("B")
    async with serving(accounts["A"], proxy.account) as service, service.client() as client:
        before = await read(client)
        for code in ("SlowDown", "AccessDenied", "NoSuchBucket", "InternalError", "PermanentRedirect"):
            proxy.add(Fault.refuses(code, operation="put"))
            await client.put(f"/files/{code}", content=b"x")
        assert (await client.put("/files/large", content=b"x" * 6_000_000)).status_code in (201, 413)
        after = await read(client)
    ours = {key for key in after if key[0] in ("mentum_s3_requests_total", "mentum_s3_retries_total")}
    assert ours <= before.keys()
    assert any(after[key] > before[key] for key in ours)
