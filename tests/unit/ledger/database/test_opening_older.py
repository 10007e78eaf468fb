"""A ledger of an earlier release opens with all that was in it, and a copy of how it was lies beside it."""

import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.models.functions import Now

from file.ledger.database.opening import LedgerRefusedError, open_ledger
from file.models import File, Installation, OpenUpload, Replica
from tests.databases import Postgres
from tests.unit.ledger.aliases import alias_of, migrate_to, sqlite_alias
from tests.unit.ledger.commands import run_manage, sqlite_url

WHEN = datetime(2026, 11, 24, 12, 30, 15, 123456, tzinfo=UTC)
EARLIER = (
    "0001_files_and_replicas", "0002_open_uploads", "0003_catch_up_and_erasure", "0004_installations",
    "0005_content_headers",
)  # fmt: skip
COPY = "ledger.sqlite3.before-file.0006_names_for_columns"


def count_in(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - a name of the test's
        return int(found)


def write_file_of_the_first_migration(alias: str) -> uuid.UUID:
    models = migrate_to(alias, ("file", "0001_files_and_replicas"))
    file_id = uuid.uuid4()
    file = models.get_model("file", "File").objects.using(alias).create(
        id=file_id, key="r\u00e9sum\u00e9.pdf", name="r\u00e9sum\u00e9.pdf", content_type="application/pdf", size=3,
        sha256="0" * 64, metadata={"a": "\u00e9"}, ack="all", wanted={"A": "bucket/"}, state="stored", who="me",
        created_at=WHEN, stored_at=WHEN,
    )  # fmt: skip
    models.get_model("file", "Replica").objects.using(alias).create(
        file=file, account="A", bucket="bucket", object_key="r\u00e9sum\u00e9.pdf", state="stored", etag='"e"',
        version_id="v", created_at=WHEN, stored_at=WHEN,
    )  # fmt: skip
    connections[alias].close()
    return file_id


def test_rows_are_kept_and_copied_when_the_previous_migration_s_ledger_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with sqlite_alias(path) as alias:
        file_id = write_file_of_the_first_migration(alias)
        assert open_ledger(alias) == tmp_path / COPY
        file = File.objects.using(alias).get()
        assert (file.id, file.key, file.live, file.metadata) == (file_id, "r\u00e9sum\u00e9.pdf", True, {"a": "\u00e9"})
        assert (file.created_at, file.size, file.wanted) == (WHEN, 3, {"A": "bucket/"})
        replica = Replica.objects.using(alias).get(file=file)
        assert (replica.account, replica.etag, replica.version_id, replica.stored_at) == ("A", '"e"', "v", WHEN)
        OpenUpload.objects.using(alias).create(file=file, account="A", upload_id="u", created_at=Now())
        assert open_ledger(alias) is None
    assert count_in(tmp_path / COPY, "file_file") == 1
    assert count_in(tmp_path / COPY, "sqlite_master WHERE name = 'file_openupload'") == 0


def test_replicas_that_nobody_would_ask_about_any_more_are_due_when_the_ledger_is_opened(tmp_path: Path) -> None:
    with sqlite_alias(tmp_path / "ledger.sqlite3") as alias:
        models = migrate_to(alias, ("file", "0002_open_uploads"))
        file = models.get_model("file", "File").objects.using(alias).create(
            id=uuid.uuid4(), key="k", name="k", content_type="text/plain", size=3, ack="any", state="partial",
            created_at=WHEN, stored_at=WHEN,
        )  # fmt: skip
        for account, state in (("A", "stored"), ("B", "pending"), ("C", "blocked")):
            models.get_model("file", "Replica").objects.using(alias).create(
                file=file, account=account, bucket="bucket", object_key="k", state=state, created_at=WHEN
            )
        connections[alias].close()
        open_ledger(alias)
        due = Replica.objects.using(alias).filter(due_at__lte=Now())
        assert list(due.values_list("account", flat=True)) == ["B"]


@contextmanager
def empty_postgresql(server: Postgres) -> Iterator[str]:
    name = f"upgraded_{uuid.uuid4().hex[:8]}"
    server.execute(f"CREATE DATABASE {name}")
    try:
        with alias_of(server.database(name)) as alias:
            yield alias
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def unmigrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The alias of an empty database of either kind."""
    if request.param == "sqlite":
        opened = sqlite_alias(tmp_path / "ledger.sqlite3")
    else:
        opened = empty_postgresql(request.getfixturevalue("postgres_server"))
    with opened as alias:
        yield alias


@pytest.mark.parametrize("release", EARLIER)
def test_what_earlier_releases_said_by_other_columns_has_a_column_of_its_own(unmigrated: str, release: str) -> None:
    models = migrate_to(unmigrated, ("file", release))

    def make(name: str, state: str, part_size: int | None = 8, **columns: Any) -> None:
        file = models.get_model("file", "File").objects.using(unmigrated).create(
            id=uuid.uuid4(), key=name, name=name, content_type="text/plain", size=3, part_size=part_size, ack="any",
            state="partial", created_at=WHEN, stored_at=WHEN,
        )  # fmt: skip
        models.get_model("file", "Replica").objects.using(unmigrated).create(
            file=file, account="A", bucket="bucket", object_key=name, state=state, created_at=WHEN,
            **{"next_attempt_at": None if state == "stored" else WHEN, **columns},
        )  # fmt: skip

    make("stored", "stored", stored_at=WHEN)
    make("follows", "pending", owner="somebody")
    make("small", "pending", part_size=None)
    make("tried", "pending", attempts=1, error_code="account_unreachable")
    make("missing", "blocked", error_code="account_missing")
    make("unseen", "erasing", attempts=1, error_code="unfinished")
    make("refuses", "erasing", attempts=2, error_code="access_refused")
    make("seen", "erasing", attempts=1)
    call_command("migrate", "file", database=unmigrated, interactive=False, verbosity=0)
    rows = Replica.objects.using(unmigrated)
    assert {row.object_key: (row.begun_until, row.last_look, row.error_code) for row in rows.all()} == {
        "stored": (None, None, None),
        "follows": (WHEN, None, None),
        "small": (None, None, None),
        "tried": (None, None, "account_unreachable"),
        "missing": (WHEN, None, "account_missing"),
        "unseen": (None, False, None),
        "refuses": (None, False, "access_refused"),
        "seen": (None, True, None),
    }
    assert {row.due_at for row in rows.exclude(state="stored")} == {WHEN}

    former = migrate_to(unmigrated, ("file", EARLIER[-1])).get_model("file", "Replica").objects.using(unmigrated)
    assert {row.object_key: (row.attempts, row.error_code) for row in former.filter(state="erasing")} == {
        "unseen": (1, "unfinished"),
        "refuses": (2, "access_refused"),
        "seen": (1, None),
    }
    assert {row.object_key: row.attempts > 0 for row in former.filter(state="pending")} == {
        "follows": False,  # an upload may be open that is not noted
        "small": True,
        "tried": True,
    }


def test_a_ledger_of_the_first_release_opens_when_it_has_no_files_yet(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with sqlite_alias(path) as alias:
        migrate_to(alias, ("contenttypes", "0002_remove_content_type_name"))
        migrate_to(alias, ("auth", "0012_alter_user_first_name_max_length"))
        connections[alias].close()
        assert open_ledger(alias) == tmp_path / COPY
        assert File.objects.using(alias).count() == 0
    assert count_in(tmp_path / COPY, "auth_user") == 0


def test_copies_do_not_heap_up_when_the_migration_fails_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with sqlite_alias(path) as alias:
        write_file_of_the_first_migration(alias)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE file_openupload (in_the_way)")
            connection.commit()
        copies = []
        for _ in range(4):
            with pytest.raises(LedgerRefusedError, match=r"^DATABASE_URL: .*file_openupload.* already exists[^\n]*$"):
                open_ledger(alias)
            copies.append({copy.name for copy in tmp_path.glob("*before*")})
        # The first try got through the migrations of Django's applications: that is another state, once.
        assert copies[0] == {COPY}
        assert len(copies[1]) == 2
        assert copies[1] == copies[2] == copies[3]
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE file_openupload")
            connection.commit()
        newer = open_ledger(alias)
    assert newer is not None
    assert newer.name.startswith(f"{COPY}-20")
    assert count_in(newer, "sqlite_master WHERE name = 'file_openupload'") == 0
    assert count_in(tmp_path / COPY, "sqlite_master WHERE name = 'file_openupload'") == 1


def test_an_older_copy_is_the_same_installation_when_it_is_upgraded(tmp_path: Path) -> None:
    with sqlite_alias(tmp_path / "ledger.sqlite3") as alias:
        write_file_of_the_first_migration(alias)
        copy = open_ledger(alias)
        assert copy is not None
        one = Installation.objects.using(alias).get().id
    shutil.copyfile(copy, tmp_path / "restored.sqlite3")
    with sqlite_alias(tmp_path / "restored.sqlite3") as alias:
        open_ledger(alias)
        assert Installation.objects.using(alias).get().id == one


@pytest.mark.parametrize("command", [["verify", "--dry-run"], ["ledger", "rebuild", "--dry-run"]])
def test_a_dry_run_says_that_the_ledger_is_of_an_earlier_release(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "ledger.sqlite3"
    with sqlite_alias(path) as alias:
        migrate_to(alias, ("file", "0003_catch_up_and_erasure"))
        connections[alias].close()
    run = run_manage(sqlite_url(path), *command)
    assert (run.returncode, run.stdout) == (1, "")
    assert "the ledger is of an earlier release" in run.stderr
