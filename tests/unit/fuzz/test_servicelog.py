"""The fuzzer reads the service's log while the service writes it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.servicelog import ServiceLog

LINE = b'{"event":"request","level":"info","method":"GET","status":200,"request_id":"fuzz-7-1"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "service.log"
    path.write_bytes(b"Every file goes to the accounts A. Listening on http://127.0.0.1:8000/\n" + LINE)
    return path


@pytest.fixture
def log(path: Path) -> Iterator[ServiceLog]:
    log = ServiceLog(path)
    assert list(log.read()) == []
    yield log
    log.close()


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as out:
        out.write(text)


def test_requests_are_counted_by_their_id_when_their_line_is_whole(log: ServiceLog, path: Path) -> None:
    append(path, LINE + LINE[:20])
    assert list(log.read()) == []
    assert log.lines == {"fuzz-7-1": 2}
    append(path, LINE[20:])
    assert list(log.read()) == []
    assert log.lines == {"fuzz-7-1": 3}


CRASHED = b'"request_crashed","exception":"Traceback\\n File \\"a.py\\", line 1, in f\\nE: x"'


@pytest.mark.parametrize(
    "line", [LINE.replace(b"200", b"500"), LINE.replace(b"info", b"error"), LINE.replace(b'"request"', CRASHED)]
)
def test_the_case_is_named_when_its_request_crashed(log: ServiceLog, path: Path, line: bytes) -> None:
    append(path, line)
    [finding] = log.read()
    assert finding.number == 7


def test_it_is_one_finding_when_a_traceback_is_not_of_the_logs_form(log: ServiceLog, path: Path) -> None:
    append(path, b"Exception in thread\nTraceback (most recent call last):\nValueError: odd\n" + LINE)
    [finding] = log.read()
    assert "ValueError: odd" in finding.text


def test_a_file_is_known_to_be_erased_when_a_delete_names_it(log: ServiceLog, path: Path) -> None:
    append(path, LINE.replace(b'"GET"', b'"DELETE","id":"the-id"'))
    assert list(log.read()) == []
    assert log.erased == {"the-id"}
