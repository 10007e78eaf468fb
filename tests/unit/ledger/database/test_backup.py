"""A copy of the ledger during writes: it is whole, of one moment, and replaces no other file."""

import json
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from file.ledger.database.backup import CopyRefusedError, copy_ledger
from tests.unit.ledger.commands import run_manage, sqlite_url

ROWS = 20_000
LEDGER = "ledger with 100% ä#?.sqlite3"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    """Some MiB in WAL mode, as the service has it."""
    path = tmp_path / LEDGER
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; BEGIN;")
        for table in ("first", "second"):
            connection.execute(f"CREATE TABLE {table} (number INTEGER PRIMARY KEY, filling TEXT)")
            rows = ((number, "x" * 1000) for number in range(ROWS))
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", rows)  # noqa: S608 - our own names
        connection.execute("COMMIT")
        yield path


def rows_in(copy: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        query = "SELECT (SELECT count(*) FROM first), (SELECT count(*) FROM second)"
        counts: tuple[int, int] = connection.execute(query).fetchone()
        return counts


def test_the_copy_is_of_one_moment_when_the_ledger_is_written_all_the_time(ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite3"
    steps: list[tuple[int, int]] = []
    written: list[int] = []

    def write_between_the_steps(done: int, total: int) -> None:
        """In another thread, as the service is another process; each step meets a new commit."""
        steps.append((done, total))
        writing = threading.Thread(target=write)
        writing.start()
        writing.join(10)

    def write() -> None:
        with closing(sqlite3.connect(ledger, isolation_level=None, timeout=1)) as connection:
            insert = "INSERT INTO {} (filling) VALUES ('later');"
            connection.executescript(f"BEGIN IMMEDIATE; {insert.format('first')} {insert.format('second')} COMMIT;")
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


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("none.sqlite3", "copy", "there is no ledger"),
        ("text.sqlite3", "copy", "not a database"),
        (LEDGER, "nowhere/copy", "No such file or directory"),
    ],
)
def test_no_file_is_made_when_the_copy_is_refused(
    ledger: Path, tmp_path: Path, source: str, target: str, says: str
) -> None:
    (tmp_path / "text.sqlite3").write_text("this is text, and long enough for a database to be expected in it\n" * 20)
    with pytest.raises(CopyRefusedError, match=says):
        copy_ledger(tmp_path / source, tmp_path / target)
    assert {path.name for path in tmp_path.iterdir()} == {"text.sqlite3", LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm"}


def test_the_command_says_what_it_copied(ledger: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    told = run_manage(sqlite_url(ledger), "ledger", "backup", str(first), "--json", UPLOAD_MEMROY="1")
    assert (told.returncode, told.stderr) == (0, "")
    answer = json.loads(told.stdout)
    assert (answer["file"], answer["bytes"]) == (str(first), first.stat().st_size)
    assert rows_in(first) == (ROWS, ROWS)
    read = run_manage(sqlite_url(ledger), "ledger", "backup", str(second))
    assert read.stdout.startswith(f"Copied the ledger to {second}: {second.stat().st_size} bytes")
    again = run_manage(sqlite_url(ledger), "ledger", "backup", str(second))
    assert again.returncode == 1
    assert again.stderr.splitlines() == [f"CommandError: {second} is there already, and is not overwritten"]


@pytest.mark.parametrize(
    ("scheme", "says"),
    [("postgres", "^CommandError: the ledger is in PostgreSQL: copy it with pg_dump\n$"), ("oracle", "DATABASE_URL")],
)
def test_the_command_says_what_to_do_when_the_ledger_is_not_in_sqlite(tmp_path: Path, scheme: str, says: str) -> None:
    run = run_manage(f"{scheme}://me:SECRET@127.0.0.1:9/x", "ledger", "backup", str(tmp_path / "copy"))
    assert run.returncode == 1
    assert re.search(says, run.stderr)
    assert "SECRET" not in run.stderr
