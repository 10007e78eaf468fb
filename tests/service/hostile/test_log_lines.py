"""Text from a client or a store stays text in the log: each line is short, printable, and one line."""

import io
import json
import logging
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from file.service import logs
from testkit.serviceprocess import ServiceProcess, wait_for
from tests.unit.api.processes import service_alone
from tests.unit.api.rawhttp import exchange, head, put

# Controls (NEL and CSI among them), line separators, changes of direction, what has no glyph.
HARMFUL = "\x00\x1b\n\r\x7f\x85\x9b\u061c\u200b\u200e\u2028\u2029\u202a\u202e\u2066\u2069\ufeff\U000e0001"
FORGED = f'{HARMFUL}[31m{{"event":"forged","level":"info"}}'
LONGEST_LINE = 8192


def written(entry: dict[str, Any]) -> bytes:
    return logs._encode(entry, repr)


@given(st.text(alphabet=st.one_of(st.sampled_from(HARMFUL), st.characters())))
def test_the_text_is_the_same_when_a_line_is_read_back(text: str) -> None:
    line = written({"detail": text, text: 1})
    assert line.decode().isprintable()
    assert json.loads(line) == {"detail": text, text: 1}


@pytest.mark.parametrize(
    "value", ["x" * 10**6, "\u202e" * 10**6, ["x" * 1000] * 1000, {"x": "y" * 10**6}, "\ud800" * 10**5]
)
def test_a_line_is_cut_when_a_value_is_long(value: Any) -> None:
    line = written({"event": "request", "detail": value, "status": 201})
    assert len(line) < 7 * LONGEST_LINE
    read = json.loads(line)
    assert (read["event"], read["status"]) == ("request", 201)
    assert read["detail"].endswith(" characters)")


def test_the_end_of_a_traceback_stays_when_it_is_long() -> None:
    exception = json.loads(written({"exception": "x" * 10**6 + "\nZeroDivisionError"}))["exception"]
    assert exception.endswith("ZeroDivisionError")
    assert len(exception) < 20_000


def assert_harmless(lines: Iterable[str]) -> None:
    for line in lines:
        assert line.isprintable(), line[:300]
        assert json.loads(line)["event"] != "forged"


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.BytesIO]:
    """Standard error, with the log set up as the service does it; everything is put back."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, encoding="utf-8", write_through=True))
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    try:
        logs.configure("info")
        yield written
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**before)


def test_a_line_is_printable_when_a_library_or_the_service_logs_what_it_received(console: io.BytesIO) -> None:
    logging.getLogger("a.library").warning("heard %s", FORGED)
    structlog.get_logger().warning("account_failed", detail=FORGED, **{FORGED: 1})
    try:
        raise ValueError(FORGED)
    except ValueError:
        structlog.get_logger().exception("crashed")
    lines = console.getvalue().decode().removesuffix("\n").split("\n")
    assert len(lines) == 3
    assert_harmless(lines)


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
