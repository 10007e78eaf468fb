"""What the service does with its database at the start: a new, an unusable, or an older ledger."""

import os
import re
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.models.functions import Now

from file.ledger.database.opening import LedgerRefusedError, network_file_system, open_ledger
from file.models import File, Installation, OpenUpload, Replica
from tests.databases import registered
from tests.unit.ledger.aliases import migrate_to, sqlite_alias
from tests.unit.ledger.commands import run_manage, sqlite_url
from tests.unit.ledger.looking import execute

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /srv/shared rw - nfs4 server:/export rw,vers=4.2
24 22 0:22 / /srv/with\040space rw shared:7 master:2 - fuse.sshfs me@host:/ rw
25 22 0:23 / /srv/covered rw - nfs server:/other rw
26 25 8:2 / /srv/covered rw - xfs /dev/sdb1 rw
27 22 0:24 / /mnt/c rw - 9p C:\134 rw
28 22 0:25 / /home rw - fuse.gocryptfs /crypt rw
29 23 8:3 / /srv/shared/local rw - btrfs /dev/sdc1 rw
30 22 0:26 / /win rw - cifs //server/x rw,password=SECRET
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/mentum.sqlite3", None),
        ("/srv/shared/mentum.sqlite3", "nfs4"),
        ("/srv/shared-not/mentum.sqlite3", None),
        ("/srv/shared/local/mentum.sqlite3", None),
        ("/srv/with space/deep/mentum.sqlite3", "fuse.sshfs"),
        ("/srv/covered/mentum.sqlite3", None),
        ("/mnt/c/mentum.sqlite3", "9p"),
        ("/home/me/mentum.sqlite3", None),
        ("/win/mentum.sqlite3", "cifs"),
    ],
)
def test_the_nearest_mount_decides_when_it_is_asked_for_a_network(path: str, kind: str | None) -> None:
    assert network_file_system(Path(path), MOUNTS) == kind


def test_a_ledger_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    point = str(tmp_path.resolve()).replace(" ", "\\040")
    mounts.write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:21 / {point} rw - nfs4 server:/export rw\n")
    monkeypatch.setattr("file.ledger.database.opening.MOUNTS", mounts)
    with sqlite_alias(tmp_path / "ledger.sqlite3") as alias, pytest.raises(LedgerRefusedError, match=r"\(nfs4\)"):
        open_ledger(alias)
    assert not (tmp_path / "ledger.sqlite3").exists()


def test_a_new_ledger_is_made_without_a_copy_when_there_is_none(tmp_path: Path) -> None:
    with sqlite_alias(tmp_path / "ledger.sqlite3") as alias:
        assert open_ledger(alias) is None
        assert File.objects.using(alias).count() == 0
        assert open_ledger(alias) is None
        connections[alias].close()
        assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite3"]


def note_migration(database: str, app: str, name: str) -> None:
    execute(database, "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, '2030-01-01')", app, name)


def test_a_ledger_of_a_newer_release_is_refused_and_left_alone_when_it_is_opened(database: str) -> None:
    note_migration(database, "file", "9999_later")
    with pytest.raises(LedgerRefusedError) as refused:
        open_ledger(database)
    assert str(refused.value) == (
        "DATABASE_URL: the database was migrated by a newer release (file.9999_later); start that one"
    )


def test_a_ledger_is_opened_when_it_has_migrations_of_another_application(database: str) -> None:
    note_migration(database, "gone", "0001")
    assert open_ledger(database) is None


def test_migrating_is_left_to_the_deployment_when_postgresql_lacks_migrations(postgresql_database: str) -> None:
    execute(postgresql_database, "DELETE FROM django_migrations WHERE name = '0006_names_for_columns'")
    for _ in range(2):
        with pytest.raises(LedgerRefusedError) as refused:
            open_ledger(postgresql_database)
        assert str(refused.value) == (
            "DATABASE_URL: the database lacks migrations (file.0006_names_for_columns); run: python manage.py migrate"
        )


@pytest.mark.parametrize(
    ("database_url", "says"),
    [
        ("sqlite://:memory:", "a database in memory is no ledger, it forgets; name a file: sqlite:///mentum.sqlite3"),
        ("postgres://me:SECRET@127.0.0.1:9/x", r"the database cannot be opened: .*127\.0\.0\.1.*refused.*"),
        ("sqlite:///{folder}/none/x.sqlite3", ".*there is no folder {folder}/none"),
        ("sqlite:///{folder}/text.sqlite3", ".*file is not a database"),
    ],
    ids=["in memory", "no server", "no folder", "no database"],
)
def test_runserver_refuses_a_database_in_one_line(tmp_path: Path, database_url: str, says: str) -> None:
    (tmp_path / "text.sqlite3").write_text("this is text, and long enough for a database to be expected in it\n" * 20)
    run = run_manage(database_url.format(folder=tmp_path), "runserver", "127.0.0.1:49991")
    assert run.returncode == 1
    assert "SECRET" not in run.stdout + run.stderr
    assert re.fullmatch(f"CommandError: DATABASE_URL: {says.format(folder=tmp_path)}\n", run.stderr)


def test_the_password_is_left_out_when_the_reason_has_it() -> None:
    place = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": "/SECRET/socket", "PASSWORD": "SECRET"}
    with registered(place) as alias, pytest.raises(LedgerRefusedError) as refused:
        open_ledger(alias)
    assert str(refused.value) == "DATABASE_URL: the database cannot be opened: OperationalError"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_ledger_that_cannot_be_written_is_refused_when_it_needs_a_migration(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (x)")
    path.chmod(0o400)
    with sqlite_alias(path) as alias, pytest.raises(LedgerRefusedError, match=r"^DATABASE_URL: "):
        open_ledger(alias)


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


def make(models: Any, alias: str, replicas: dict[str, dict[str, Any]], **changes: Any) -> uuid.UUID:
    """A file of an earlier release with these replicas: account to columns."""
    columns = {
        "id": uuid.uuid4(), "name": changes["key"], "content_type": "text/plain", "size": 3, "ack": "any",
        "state": "partial", "created_at": WHEN, "stored_at": WHEN, **changes,
    }  # fmt: skip
    file = models.get_model("file", "File").objects.using(alias).create(**columns)
    for account, its_own in replicas.items():
        models.get_model("file", "Replica").objects.using(alias).create(
            file=file, account=account, bucket="bucket", object_key=file.key, created_at=WHEN, **its_own
        )
    connections[alias].close()
    return uuid.UUID(str(file.pk))


def make_file_of_the_first_migration(alias: str) -> uuid.UUID:
    models = migrate_to(alias, ("file", "0001_files_and_replicas"))
    replica = {"state": "stored", "etag": '"e"', "version_id": "v", "stored_at": WHEN}
    file = {"sha256": "0" * 64, "metadata": {"a": "\u00e9"}, "wanted": {"A": "bucket/"}, "state": "stored"}
    return make(models, alias, {"A": replica}, key="r\u00e9sum\u00e9.pdf", **file)


def test_rows_are_kept_and_copied_when_a_ledger_of_the_first_migration_is_opened(tmp_path: Path) -> None:
    with sqlite_alias(tmp_path / "ledger.sqlite3") as alias:
        file_id = make_file_of_the_first_migration(alias)
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


def test_pending_replicas_without_a_time_are_due_when_the_ledger_is_opened(tmp_path: Path) -> None:
    with sqlite_alias(tmp_path / "ledger.sqlite3") as alias:
        models = migrate_to(alias, ("file", "0002_open_uploads"))
        states = {"A": "stored", "B": "pending", "C": "blocked"}
        make(models, alias, {account: {"state": state} for account, state in states.items()}, key="k")
        open_ledger(alias)
        due = Replica.objects.using(alias).filter(due_at__lte=Now())
        assert list(due.values_list("account", flat=True)) == ["B"]


@pytest.fixture(params=["sqlite", "postgresql"])
def unmigrated(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The alias of an empty database of either kind."""
    if request.param == "sqlite":
        opened = sqlite_alias(tmp_path / "ledger.sqlite3")
    else:
        opened = request.getfixturevalue("postgres_server").copy("template1")
    with opened as alias:
        yield alias


@pytest.mark.parametrize("release", EARLIER)
def test_the_new_columns_are_filled_from_the_columns_of_an_earlier_release(unmigrated: str, release: str) -> None:
    models = migrate_to(unmigrated, ("file", release))
    rows: dict[str, dict[str, Any]] = {
        "stored": {"state": "stored", "stored_at": WHEN, "next_attempt_at": None},
        "follows": {"state": "pending", "owner": "somebody"},
        "small": {"state": "pending"},
        "tried": {"state": "pending", "attempts": 1, "error_code": "account_unreachable"},
        "missing": {"state": "blocked", "error_code": "account_missing"},
        "unseen": {"state": "erasing", "attempts": 1, "error_code": "unfinished"},
        "refuses": {"state": "erasing", "attempts": 2, "error_code": "access_refused"},
        "seen": {"state": "erasing", "attempts": 1},
    }
    for key, columns in rows.items():
        replica = {"next_attempt_at": WHEN, **columns}
        make(models, unmigrated, {"A": replica}, key=key, part_size=None if key == "small" else 8)
    call_command("migrate", "file", database=unmigrated, interactive=False, verbosity=0)
    found = Replica.objects.using(unmigrated)
    assert {row.object_key: (row.begun_until, row.last_look, row.error_code) for row in found.all()} == {
        "stored": (None, None, None),
        "follows": (WHEN, None, None),
        "small": (None, None, None),
        "tried": (None, None, "account_unreachable"),
        "missing": (WHEN, None, "account_missing"),
        "unseen": (None, False, None),
        "refuses": (None, False, "access_refused"),
        "seen": (None, True, None),
    }
    assert {row.due_at for row in found.exclude(state="stored")} == {WHEN}

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
    with sqlite_alias(tmp_path / "ledger.sqlite3") as alias:
        migrate_to(alias, ("contenttypes", "0002_remove_content_type_name"))
        migrate_to(alias, ("auth", "0012_alter_user_first_name_max_length"))
        connections[alias].close()
        assert open_ledger(alias) == tmp_path / COPY
        assert File.objects.using(alias).count() == 0
    assert count_in(tmp_path / COPY, "auth_user") == 0


def test_one_copy_per_state_is_made_when_the_migration_fails_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with sqlite_alias(path) as alias:
        make_file_of_the_first_migration(alias)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE file_openupload (in_the_way)")
        copies = []
        for _ in range(4):
            with pytest.raises(LedgerRefusedError, match=r"^DATABASE_URL: .*file_openupload.* already exists[^\n]*$"):
                open_ledger(alias)
            copies.append({copy.name for copy in tmp_path.glob("*before*")})
        # The first try ran the migrations of Django's applications, which makes one other state.
        assert copies[0] == {COPY}
        assert len(copies[1]) == 2
        assert copies[1] == copies[2] == copies[3]
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("DROP TABLE file_openupload")
        newer = open_ledger(alias)
    assert newer is not None
    assert newer.name.startswith(f"{COPY}-20")
    assert count_in(newer, "sqlite_master WHERE name = 'file_openupload'") == 0
    assert count_in(tmp_path / COPY, "sqlite_master WHERE name = 'file_openupload'") == 1


def test_an_older_copy_is_the_same_installation_when_it_is_migrated(tmp_path: Path) -> None:
    with sqlite_alias(tmp_path / "ledger.sqlite3") as alias:
        make_file_of_the_first_migration(alias)
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
