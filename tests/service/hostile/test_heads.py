"""Every request, on every route, gets an answer of our own and one line in our log, also when its head is odd.

A request that ends without an answer of the application would get a 500 of the server below, and no line.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
import pytest_asyncio
import structlog
from structlog.testing import capture_logs

from testkit.serviceprocess import ServiceProcess, wait_for
from tests.service.hostile.oddheads import API, ODD, PAGES, Odd
from tests.serving import Running, running
from tests.unit.api.expectations import PART, assert_problem, three, until
from tests.unit.api.processes import service_alone
from tests.unit.api.rawhttp import Answer, Listening, connected, head, put

pytestmark = pytest.mark.asyncio(loop_scope="module")

SITE = "https://a.example"  # it may upload, so that the layer of CORS is there, too


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[Running]:
    """Its accounts take a moment, so that a reader can be found gone before the first byte is there."""
    buckets = three()
    async with running(buckets, part_size=PART, max_request_bytes=1_000_000, cors_origins=(SITE,)) as service:
        assert (await put(service, "k", b"x" * 1000)).status_code == 201
        for bucket in buckets:
            bucket.delay_seconds = 0.05
        yield service


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """With Django's pages, and its files."""
    folder = tmp_path_factory.mktemp("heads")
    with service_alone(folder, CORS_ORIGINS=SITE, UPLOAD_MAX_REQUEST_BYTES="1000000") as running:
        yield running


async def answer_to(service: Listening, request: str, odd: Odd) -> Answer:
    method, target = request.split(" ")
    async with connected(service) as connection:
        await connection.send(head(method, target, *odd.fields, host="127.0.0.1"), odd.body)
        if odd.ends:
            with suppress(OSError):  # it was answered and closed already
                connection.end_of_sending()
        answer = await connection.answer(to_head=method == "HEAD")
        if answer.status_code == 100:
            answer = await connection.answer(to_head=method == "HEAD")
        return answer


def assert_ours(answer: Answer, where: str, *, pages: bool = False) -> None:
    assert "x-request-id" in answer.headers, (where, answer)
    assert answer.status_code not in {0, 500}, (where, answer)
    if answer.status_code >= 400 and not (pages and answer.headers.get("content-type", "").startswith("text/html")):
        assert answer.headers["content-type"] == "application/problem+json", (where, answer)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_the_api_answers_and_logs_when_a_head_is_odd(service: Running, odd: Odd) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        answers = await asyncio.gather(*(answer_to(service, request, odd) for request in API))
        for answer, where in zip(answers, API, strict=True):
            assert_ours(answer, where)
        answered = {answer.headers["x-request-id"]: answer.status_code for answer in answers}
        assert len(answered) == len(API)

        def logged() -> dict[str, int]:
            return {line["request_id"]: line["status"] for line in logs if line["event"] == "request"}

        await until(lambda: logged().keys() >= answered.keys())
    assert answered.items() <= logged().items()
    assert not [line for line in logs if line["log_level"] in ("error", "critical")]


async def test_pages_answer_and_log_when_a_head_is_odd(process: ServiceProcess) -> None:
    answered = {}
    for name, odd in ODD.items():
        answers = await asyncio.gather(*(answer_to(process, request, odd) for request in PAGES))
        for answer, where in zip(answers, PAGES, strict=True):
            assert_ours(answer, f"{name}: {where}", pages=True)
            answered[answer.headers["x-request-id"]] = answer.status_code
    assert len(answered) == len(PAGES) * len(ODD)

    def logged() -> dict[str, int]:
        lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
        assert not [line for line in lines if line["level"] in ("error", "critical")]
        return {line["request_id"]: line["status"] for line in lines if line["event"] == "request"}

    assert await asyncio.to_thread(wait_for, lambda: logged().keys() >= answered.keys(), 10)
    assert answered.items() <= logged().items()


async def test_a_length_is_read_when_it_has_zeros_before_it(service: Running) -> None:
    odd = Odd(("content-length: " + "0" * 5000 + "3", "if-none-match: *"), b"abc")
    assert (await answer_to(service, "PUT /files/zeros", odd)).status_code == 201
    assert (await answer_to(service, "GET /files/zeros", Odd())).body == b"abc"


@pytest.mark.parametrize("request_", ["GET /files/k", "HEAD /files/k"])
@pytest.mark.parametrize("odd", ["a short body", "a chunk that ends early", "a broken chunk"])
async def test_a_read_is_refused_when_its_own_body_is_broken(service: Running, odd: str, request_: str) -> None:
    assert (await answer_to(service, request_, ODD[odd])).status_code == 400


@pytest.mark.parametrize("field", ["content-length: " + "9" * 4400, "content-length: 18446744073709551616", "a b: c"])
async def test_the_server_refuses_when_a_head_is_not_one_of_http(service: Running, field: str) -> None:
    """The application does not get it: the answer has no id, and there is no line."""
    answer = await answer_to(service, "GET /_/health", Odd((field,)))
    assert_problem(answer, 400, "malformed_request")
    assert "x-request-id" not in answer.headers
