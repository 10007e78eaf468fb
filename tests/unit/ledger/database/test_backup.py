"""A copy of the ledger while somebody writes to it: of one moment, whole, and never in place of another file."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from file.ledger.database.backup import CopyRefusedError, copy_ledger
from tests.unit.ledger.commands import run_manage, sqlite_url

ROWS = 20_000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    """Some MiB in WAL mode, as the service has it."""
    path = tmp_path / "ledger with 100% ä#?.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("CREATE TABLE first (number INTEGER PRIMARY KEY, filling TEXT)")
        connection.execute("CREATE TABLE second (number INTEGER PRIMARY KEY, filling TEXT)")
        connection.execute("BEGIN")
        for table in ("first", "second"):
            rows = ((number, "x" * 1000) for number in range(ROWS))
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)  # noqa: S608 - two names of ours
        connection.execute("COMMIT")
        yield path


def rows_in(copy: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (first,) = connection.execute("SELECT count(*) FROM first").fetchone()
        (second,) = connection.execute("SELECT count(*) FROM second").fetchone()
        return first, second


def test_the_copy_is_of_one_moment_when_somebody_writes_all_the_time(ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    steps: list[tuple[int, int]] = []
    written: list[int] = []

    def write_between_the_steps(done: int, total: int) -> None:
        """In a thread of its own, as the service is in a process of its own; each step meets a new commit."""
        steps.append((done, total))
        writing = threading.Thread(target=write)
        writing.start()
        writing.join(10)

    def write() -> None:
        with closing(sqlite3.connect(ledger, isolation_level=None, timeout=1)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            for table in ("first", "second"):
                connection.execute(f"INSERT INTO {table} (filling) VALUES ('later')")  # noqa: S608 - two names of ours
            connection.execute("COMMIT")
        written.append(1)

    size = copy_ledger(ledger, copy, write_between_the_steps)
    assert rows_in(copy) == (ROWS, ROWS)
    assert size == copy.stat().st_size
    assert len(written) == len(steps) > 1
    assert steps[-1][0] == steps[-1][1]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "copy"))] == ["copy.sqlite3"]


def test_nothing_is_overwritten_when_the_name_is_taken(ledger: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("dear")
    with pytest.raises(CopyRefusedError, match="is there already"):
        copy_ledger(ledger, taken)
    assert taken.read_text() == "dear"


def test_nothing_is_left_or_made_when_the_copy_cannot_be(ledger: Path, tmp_path: Path) -> None:
    with pytest.raises(CopyRefusedError, match="there is no ledger"):
        copy_ledger(tmp_path / "none.sqlite3", tmp_path / "copy")
    text = tmp_path / "text.sqlite3"
    text.write_text("this is no database, and long enough for one to be looked for in it\n" * 20)
    with pytest.raises(CopyRefusedError, match="not a database"):
        copy_ledger(text, tmp_path / "copy")
    with pytest.raises(CopyRefusedError, match="No such file or directory"):
        copy_ledger(ledger, tmp_path / "nowhere" / "copy")
    assert {path.name for path in tmp_path.iterdir()} == {
        text.name, ledger.name, f"{ledger.name}-wal", f"{ledger.name}-shm",
    }  # fmt: skip


def test_the_command_tells_what_it_copied_when_it_did(ledger: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    told = run_manage(sqlite_url(ledger), "ledger", "backup", str(first), "--json", UPLOAD_MEMROY="1")
    assert (told.returncode, told.stderr) == (0, "")
    answer = json.loads(told.stdout)
    assert answer["file"] == str(first)
    assert answer["bytes"] == first.stat().st_size
    assert rows_in(first) == (ROWS, ROWS)
    read = run_manage(sqlite_url(ledger), "ledger", "backup", str(second))
    assert read.stdout.startswith(f"Copied the ledger to {second}: {second.stat().st_size} bytes")
    again = run_manage(sqlite_url(ledger), "ledger", "backup", str(second))
    assert again.returncode == 1
    assert again.stderr.splitlines() == [f"CommandError: {second} is there already, and is not overwritten"]


def test_the_command_names_the_tool_when_the_ledger_is_in_postgresql(tmp_path: Path) -> None:
    run = run_manage("postgres://me:SECRET@127.0.0.1:9/x", "ledger", "backup", str(tmp_path / "copy"))
    assert run.returncode == 1
    assert run.stderr.splitlines() == ["CommandError: the ledger is in PostgreSQL: copy it with pg_dump"]


def test_the_command_says_so_when_no_database_is_named(tmp_path: Path) -> None:
    run = run_manage("oracle://me:SECRET@host/x", "ledger", "backup", str(tmp_path / "copy"))
    assert run.returncode == 1
    assert "DATABASE_URL" in run.stderr
    assert "SECRET" not in run.stderr
