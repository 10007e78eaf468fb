"""A service that asks for no token answers under its own names only, and to no page of another site."""

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from tests.serving import running
from tests.unit.api.expectations import Shared, assert_problem, three
from tests.unit.api.rawhttp import Answer, exchange, form, form_part

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOSTS = ("files.example", ".office.example", "127.0.0.1", "[::1]")
SITE = "https://pages.example"
BODY = form(form_part("file", b"x", filename="f"))
FORM = "multipart/form-data; boundary=the-boundary"
WRITING = [("PUT", "/files/k"), ("POST", "/upload"), ("DELETE", "/files/none")]
READING = [
    *(("GET", "/files"), ("GET", "/files/none"), ("HEAD", "/files/none"), ("GET", "/receipts/none")),
    *(("GET", "/_/accounts"), ("GET", "/_/metrics")),
]
PROBES = [("GET", "/_/health"), ("GET", "/_/ready")]
ROUTES = [*WRITING, *READING]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[Shared]:
    buckets = three()
    async with running(buckets, tokens={}, open=True, allowed_hosts=HOSTS, cors_origins=(SITE,)) as service:
        yield Shared(service, buckets)


async def ask(opened: Shared, method: str, target: str, host: str, headers: Mapping[str, str]) -> Answer:
    for bucket in opened.buckets:
        bucket.calls.clear()
    body = {"PUT": b"x", "POST": BODY}.get(method, b"")
    told = {"host": host, "content-length": str(len(body)), "content-type": FORM, **headers}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    return await exchange(opened.service, "\r\n".join(lines).encode() + b"\r\n\r\n", body, end=method == "HEAD")


def assert_refused(opened: Shared, answer: Answer, method: str, status: int, code: str) -> None:
    if method == "HEAD":
        assert answer.status_code in (status, 0)
    else:
        assert_problem(answer, status, code)
    assert not any(bucket.calls for bucket in opened.buckets)


FOREIGN_HOSTS = [
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "evil-files.example", "files.example.evil", "x"),
    *("10.0.0.1", "localhost", "[::2]", "169.254.169.254", "files.example,evil.example"),
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_nothing_is_done_when_a_name_of_somebody_else_leads_here(opened: Shared, host: str) -> None:
    for method, target in ROUTES:
        answer = await ask(opened, method, target, host, {})
        assert_refused(opened, answer, method, 421, "host_refused")
    for method, target in PROBES:
        assert (await ask(opened, method, target, host, {})).status_code == 200


@pytest.mark.parametrize(
    "host", ["files.example", "FILES.example:8443", "files.example.", "127.0.0.1:80", "a.office.example", "[::1]:8000"]
)
async def test_a_program_is_let_in_when_the_host_is_listed(opened: Shared, host: str) -> None:
    for method, target in [("POST", "/upload"), ("GET", "/files"), ("GET", "/_/accounts")]:
        assert (await ask(opened, method, target, host, {})).status_code in (200, 201)


FOREIGN_PAGES: dict[str, dict[str, str]] = {
    "a site": {"origin": "https://evil.example"},
    "no origin": {"origin": "null"},
    "an empty origin": {"origin": ""},
    "another port": {"origin": "http://files.example:81"},
    "another spelling": {"origin": "https://evil.example/files.example"},
    "no web page": {"origin": "chrome-extension://files.example"},
    "an image": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
    "a frame": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    "only the site": {"sec-fetch-site": "cross-site"},
}


@pytest.mark.parametrize("page", FOREIGN_PAGES.values(), ids=FOREIGN_PAGES)
async def test_nothing_is_done_when_a_page_of_another_site_asks(opened: Shared, page: dict[str, str]) -> None:
    for method, target in ROUTES:
        answer = await ask(opened, method, target, "files.example", page)
        assert_refused(opened, answer, method, 403, "origin_refused")
    for method, target in PROBES:
        assert (await ask(opened, method, target, "files.example", page)).status_code == 200


async def test_nothing_is_written_when_a_link_or_a_form_opens_it(opened: Shared) -> None:
    opens = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    for method, target in WRITING:
        answer = await ask(opened, method, target, "files.example", opens)
        assert_refused(opened, answer, method, 403, "origin_refused")
    assert (await ask(opened, "GET", "/files", "files.example", opens)).status_code == 200


OWN_PAGES = [
    {"origin": "https://files.example", "sec-fetch-site": "same-origin"},
    {"origin": "https://files.example:8443", "sec-fetch-site": "same-origin"},  # a proxy that leaves the port out
    {"origin": "http://files.example"},
    {"origin": SITE, "sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
]


@pytest.mark.parametrize("page", OWN_PAGES)
async def test_a_page_is_let_in_when_it_is_ours_or_listed(opened: Shared, page: dict[str, str]) -> None:
    for method, target in [("POST", "/upload"), ("GET", "/files"), ("GET", "/_/accounts")]:
        assert (await ask(opened, method, target, "files.example", page)).status_code in (200, 201)


async def test_the_token_is_enough_when_there_is_one() -> None:
    async with running(three(), cors_origins=(SITE,)) as service, service.client() as client:
        told = {"host": "evil.example", "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        assert (await client.put("/files/k", content=b"x", headers=told)).status_code == 201
        assert (await client.get("/files", headers=told)).status_code == 200
