"""Text from a client stays text in the log of the service: each line is short, printable, and one line."""

from collections.abc import Iterator

import pytest

from testkit.serviceprocess import ServiceProcess, wait_for
from tests.unit.api.processes import service_alone
from tests.unit.api.rawhttp import exchange, head, put
from tests.unit.service.harmfultext import HARMFUL, LONGEST_LINE, assert_harmless


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service_alone(tmp_path_factory.mktemp("log"), UPLOAD_SETTLE_SECONDS="0") as running:
        yield running


REQUESTS = {
    "a method": head("X" * 5000, "/files/k"),
    "a path": head("GET", "/files/" + "%C2%85%C2%9B%E2%80%A8%E2%80%AE%7F" * 200),
    "a path that is none": head("GET", "/none%0A%1B[31m%C2%9B%7F"),
    "bytes": head("GET", b"/none\xc2\x85\xc2\x9b\x7f\xe2\x80\xae".decode()),
    "a query": head("GET", "/files?after=%E2%80%AE"),
    "a length": head("PUT", "/files/k", f"content-length: {HARMFUL[5:]}9"),
}


async def test_each_line_is_printable_and_short_when_requests_have_harmful_text(service: ServiceProcess) -> None:
    answers = [await exchange(service, request) for request in REQUESTS.values()]
    answers.append(await put(service, "\u202e\u2028-key", b"x"))
    answered = [answer.headers["x-request-id"] for answer in answers if "x-request-id" in answer.headers]
    assert len(answered) >= 4  # the server below refuses some, without a line
    assert wait_for(lambda: all(f'"{request_id}"' in service.log.read_text() for request_id in answered), 20)
    log = service.log.read_bytes().decode()
    lines = log.removesuffix("\n").split("\n")[1:]
    assert_harmless(lines)
    assert all(len(line) < LONGEST_LINE for line in lines)
    assert "\\u202e" in log
