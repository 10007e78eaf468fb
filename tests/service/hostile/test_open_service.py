"""A service without tokens answers under its own names only, and to no page of another site."""

from collections.abc import AsyncIterator, Iterable, Mapping

import pytest
import pytest_asyncio

from tests.unit.api.expectations import Shared, assert_problem, memory_service
from tests.unit.api.rawhttp import BOUNDARY, Answer, exchange, form, form_part

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOSTS = ("files.example", ".office.example", "127.0.0.1", "[::1]")
SITE = "https://pages.example"
BODY = form(form_part("file", b"x", filename="f"))
FORM = f"multipart/form-data; boundary={BOUNDARY}"
WRITING = ["PUT /files/k", "POST /upload", "DELETE /files/none"]
READING = [
    *("GET /files", "GET /files/none", "HEAD /files/none", "GET /receipts/none", "GET /_/accounts", "GET /_/metrics"),
]
PROBES = ["GET /_/health", "GET /_/ready"]
ASKING = ["POST /upload", "GET /files", "GET /_/accounts"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[Shared]:
    async with memory_service(tokens={}, open=True, allowed_hosts=HOSTS, cors_origins=(SITE,)) as service:
        yield service


async def ask(opened: Shared, request: str, host: str, headers: Mapping[str, str]) -> Answer:
    for bucket in opened.buckets:
        bucket.calls.clear()
    method = request.partition(" ")[0]
    body = {"PUT": b"x", "POST": BODY}.get(method, b"")
    fields = {"host": host, "content-length": str(len(body)), "content-type": FORM, **headers}
    lines = [f"{request} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return await exchange(opened, "\r\n".join(lines).encode(), body, end=method == "HEAD")


async def assert_refused(
    opened: Shared, status: int, code: str, host: str, headers: Mapping[str, str], requests: Iterable[str]
) -> None:
    """And no account is asked."""
    for request in requests:
        answer = await ask(opened, request, host, headers)
        if request.startswith("HEAD"):
            assert answer.status_code in (status, 0)
        else:
            assert_problem(answer, status, code)
        opened.assert_not_asked()


async def assert_answered(opened: Shared, host: str, headers: Mapping[str, str], requests: Iterable[str]) -> None:
    for request in requests:
        assert (await ask(opened, request, host, headers)).status_code in (200, 201), request


FOREIGN_HOSTS = [
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "evil-files.example", "files.example.evil", "x"),
    *("10.0.0.1", "localhost", "[::2]", "169.254.169.254", "files.example,evil.example"),
]


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_only_the_probes_answer_when_the_host_is_not_listed(opened: Shared, host: str) -> None:
    await assert_refused(opened, 421, "host_refused", host, {}, [*WRITING, *READING])
    await assert_answered(opened, host, {}, PROBES)


@pytest.mark.parametrize(
    "host", ["files.example", "FILES.example:8443", "files.example.", "127.0.0.1:80", "a.office.example", "[::1]:8000"]
)
async def test_a_program_gets_answers_when_the_host_is_listed(opened: Shared, host: str) -> None:
    await assert_answered(opened, host, {}, ASKING)


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
async def test_only_the_probes_answer_when_a_page_of_another_site_asks(opened: Shared, page: dict[str, str]) -> None:
    await assert_refused(opened, 403, "origin_refused", "files.example", page, [*WRITING, *READING])
    await assert_answered(opened, "files.example", page, PROBES)


async def test_nothing_is_written_when_a_link_or_a_form_opens_it(opened: Shared) -> None:
    opens = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    await assert_refused(opened, 403, "origin_refused", "files.example", opens, WRITING)
    await assert_answered(opened, "files.example", opens, ["GET /files"])


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
async def test_a_page_gets_answers_when_its_site_is_ours_or_listed(opened: Shared, page: dict[str, str]) -> None:
    await assert_answered(opened, "files.example", page, ASKING)


async def test_the_token_is_enough_when_there_is_one() -> None:
    async with memory_service(cors_origins=(SITE,)) as service, service.client() as client:
        headers = {"host": "evil.example", "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        assert (await client.put("/files/k", content=b"x", headers=headers)).status_code == 201
        assert (await client.get("/files", headers=headers)).status_code == 200
