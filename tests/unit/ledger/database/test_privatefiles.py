"""Only the service's own user can read the ledger, its log and its copies, whatever the umask is."""

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from file.ledger.database.privatefiles import keep_private
from tests.unit.api.processes import service_alone
from tests.unit.ledger.commands import run_manage, sqlite_url


def modes(folder: Path, beginning: str = "ledger") -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.glob(f"{beginning}*")}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running service."""
    folder = tmp_path_factory.mktemp("private")
    with service_alone(folder):
        yield folder


def test_the_ledger_and_its_log_are_private_when_the_service_made_them(served: Path) -> None:
    assert modes(served) == {"ledger.sqlite3": 0o600, "ledger.sqlite3-wal": 0o600, "ledger.sqlite3-shm": 0o600}


def test_a_copy_is_private_when_it_is_made(served: Path, tmp_path: Path) -> None:
    run = run_manage(sqlite_url(served / "ledger.sqlite3"), "ledger", "backup", str(tmp_path / "copy"))
    assert run.returncode == 0, run.stderr
    assert modes(tmp_path, "copy") == {"copy": 0o600}


def test_a_ledger_is_private_when_migrate_makes_it(tmp_path: Path) -> None:
    run = run_manage(sqlite_url(tmp_path / "ledger.sqlite3"), "migrate", "--verbosity=0")
    assert run.returncode == 0, run.stderr
    assert set(modes(tmp_path).values()) == {0o600}


def test_existing_files_are_made_private_and_the_folder_is_not_changed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    ledger = tmp_path / "ledger [1].sqlite3"
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE one (two)")
        (tmp_path / "ledger [1].sqlite3.before-0003_x").write_text("a copy")
        (tmp_path / "ledger of another.sqlite3").write_text("not ours")
        for file in tmp_path.iterdir():
            file.chmod(0o664)
        keep_private(ledger)
        connection.execute("INSERT INTO one VALUES (2)")
    found = modes(tmp_path)
    assert found.pop("ledger of another.sqlite3") == 0o664
    assert set(found.values()) == {0o600}
    assert len(found) >= 2
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
