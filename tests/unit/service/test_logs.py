"""The log: printable lines of limited length, written together where they belong together, and a service without it."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from file.api.requests import REQUEST_ID
from file.service import logs
from tests.unit.api.expectations import until
from tests.unit.service.harmfultext import FORGED, HARMFUL, LONGEST_LINE, assert_harmless

FULL = Path("/dev/full")


class Writes(io.RawIOBase):
    """A stream that keeps each write."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: Any, /) -> int:
        self.pieces.append(bytes(piece))
        return len(piece)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in b"".join(self.pieces).splitlines()]

    def events(self) -> list[list[str]]:
        """Those of each write."""
        return [[json.loads(line)["event"] for line in piece.splitlines()] for piece in self.pieces]


@pytest.fixture
def set_up() -> Iterator[None]:
    """The set-up of the log is put back after the test."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch, set_up: None) -> Iterator[Writes]:
    """Standard error, with the log set up as the service does it."""
    written = Writes()
    stream = io.TextIOWrapper(io.BufferedWriter(written), encoding="utf-8")
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("info")
    yield written
    del stream  # or it would be closed when pytest puts its own there


# --- a line


@given(st.text(alphabet=st.one_of(st.sampled_from(HARMFUL), st.characters())))
def test_the_text_is_the_same_when_a_line_is_read_back(text: str) -> None:
    line = logs._line({"detail": text, text: 1})
    assert line.decode().isprintable()
    assert json.loads(line) == {"detail": text, text: 1}


@pytest.mark.parametrize(
    "value", ["x" * 10**6, "\u202e" * 10**6, ["x" * 1000] * 1000, {"x": "y" * 10**6}, "\ud800" * 10**5]
)
def test_a_line_is_cut_when_a_value_is_long(value: Any) -> None:
    line = logs._line({"event": "request", "detail": value, "status": 201})
    assert len(line) < 7 * LONGEST_LINE
    read = json.loads(line)
    assert (read["event"], read["status"]) == ("request", 201)
    assert read["detail"].endswith(" characters)")


def test_the_end_of_a_traceback_stays_when_it_is_long() -> None:
    exception = json.loads(logs._line({"exception": "x" * 10**6 + "\nZeroDivisionError"}))["exception"]
    assert exception.endswith("ZeroDivisionError")
    assert len(exception) < 20_000


def test_a_line_is_printable_when_a_library_or_the_service_logs_what_it_received(writes: Writes) -> None:
    logging.getLogger("a.library").warning("heard %s", FORGED)
    structlog.get_logger().warning("account_failed", detail=FORGED, **{FORGED: 1})
    try:
        raise ValueError(FORGED)
    except ValueError:
        structlog.get_logger().exception("crashed")
    lines = b"".join(writes.pieces).decode().removesuffix("\n").split("\n")
    assert len(lines) == 3
    assert_harmless(lines)


def test_a_line_has_its_members_in_order_when_the_service_or_a_library_logs(writes: Writes) -> None:
    token = REQUEST_ID.set("an-id")
    try:
        structlog.get_logger().info("cleaned", account="A", value=Path("shown"))
        try:
            raise ValueError
        except ValueError:
            structlog.get_logger().exception("crashed", account="A")
            logging.getLogger("a.library").exception("its %s", "line")
    finally:
        REQUEST_ID.reset(token)
    structlog.get_logger().warning("ended")
    ours, crashed, foreign, last = writes.lines()
    assert list(ours) == ["account", "value", "event", "request_id", "level", "timestamp"]
    assert (ours["value"], ours["request_id"], ours["level"]) == (repr(Path("shown")), "an-id", "info")
    assert list(crashed) == ["account", "event", "request_id", "level", "timestamp", "exception"]
    assert crashed["exception"].endswith("ValueError")
    assert list(foreign) == ["event", "request_id", "level", "timestamp", "logger", "exception"]
    assert (foreign["event"], foreign["logger"], foreign["level"]) == ("its line", "a.library", "error")
    assert list(last) == ["event", "level", "timestamp"]


# --- when lines are written


async def test_the_lines_of_an_upload_are_one_write_when_its_files_are_stored(writes: Writes) -> None:
    log = structlog.get_logger()
    for account in "ABC":
        log.info("account_stored", account=account)
    assert not writes.pieces
    log.info("request")
    assert writes.events() == [["account_stored"] * 3 + ["request"]]
    assert [line.get("account") for line in writes.lines()] == ["A", "B", "C", None]


async def test_the_lines_before_it_are_written_at_once_when_there_is_a_warning(writes: Writes) -> None:
    log = structlog.get_logger()
    log.info("account_stored", account="A")
    log.warning("account_pending", account="B")
    assert writes.events() == [["account_stored", "account_pending"]]
    log.info("account_stored", account="C")
    logging.getLogger("a.library").warning("its line")
    assert writes.events()[1:] == [["account_stored", "its line"]]


async def test_a_line_is_written_soon_when_no_other_follows(writes: Writes) -> None:
    for _ in range(2):
        writes.pieces.clear()
        structlog.get_logger().info("account_stored")
        assert not writes.pieces
        await until(lambda: bool(writes.pieces))


async def test_a_line_is_written_at_once_when_another_thread_logs_it(writes: Writes) -> None:
    structlog.get_logger().info("account_stored", account="A")
    thread = Thread(target=structlog.get_logger().info, args=("account_stored",))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert writes.events() == [["account_stored"] * 2]


async def test_no_line_is_lost_when_the_process_ends(writes: Writes) -> None:
    structlog.get_logger().info("account_stored")
    handler = next(each for each in logging.getLogger().handlers if isinstance(each, logs._Handler))
    handler.flush()  # as `logging.shutdown` does
    assert writes.events() == [["account_stored"]]


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a device that is always full")
def test_the_service_goes_on_when_the_log_cannot_be_written(monkeypatch: pytest.MonkeyPatch, set_up: None) -> None:
    with FULL.open("wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(full))
        logs.configure("info")
        structlog.get_logger().info("request")
        logging.getLogger("a.library").warning("its line")
