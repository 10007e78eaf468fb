"""What the service does with its database at the start, and the one line with which it refuses one."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connections

from file.ledger.database.opening import LedgerRefusedError, network_file_system, open_ledger
from file.models import File
from tests.unit.ledger.aliases import alias_of, sqlite_alias
from tests.unit.ledger.commands import run_manage, sqlite_url

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


def test_a_ledger_on_a_network_file_system_is_refused_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_ledger_of_a_newer_release_is_refused_and_left_alone_when_it_is_opened(database: str) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('file', '9999_later', '2030-01-01')")
    with pytest.raises(LedgerRefusedError) as refused:
        open_ledger(database)
    assert str(refused.value) == (
        "DATABASE_URL: the database was migrated by a newer release (file.9999_later); start that one"
    )


def test_other_applications_migrations_are_no_obstacle_when_they_are_in_the_database(database: str) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('gone', '0001', '2030-01-01')")
    assert open_ledger(database) is None


def test_migrating_is_left_to_the_deployment_when_postgresql_lacks_migrations(postgresql_database: str) -> None:
    with connections[postgresql_database].cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'file' AND name = '0006_names_for_columns'")
    for _ in range(2):
        with pytest.raises(LedgerRefusedError) as refused:
            open_ledger(postgresql_database)
        assert str(refused.value) == (
            "DATABASE_URL: the database lacks migrations (file.0006_names_for_columns); run: python manage.py migrate"
        )


def refusal(database_url: str) -> str:
    run = run_manage(database_url, "runserver", "127.0.0.1:49991")
    assert run.returncode == 1
    assert "SECRET" not in run.stdout + run.stderr
    (line,) = run.stderr.splitlines()
    return line


def test_runserver_says_in_one_line_when_the_database_forgets() -> None:
    assert refusal("sqlite://:memory:") == (
        "CommandError: DATABASE_URL: a database in memory is no ledger, it forgets; name a file: "
        "sqlite:///mentum.sqlite3"
    )


def test_runserver_says_in_one_line_when_the_server_cannot_be_reached() -> None:
    line = refusal("postgres://me:SECRET@127.0.0.1:9/mentum")
    assert line.startswith("CommandError: DATABASE_URL: the database cannot be opened: ")
    assert "127.0.0.1" in line
    assert "refused" in line


def test_runserver_says_in_one_line_when_the_file_cannot_be_a_ledger(tmp_path: Path) -> None:
    assert refusal(sqlite_url(tmp_path / "none" / "x.sqlite3")).endswith(f"there is no folder {tmp_path / 'none'}")
    text = tmp_path / "text.sqlite3"
    text.write_text("this is no database, and long enough for one to be looked for in it\n" * 20)
    assert refusal(sqlite_url(text)).endswith("file is not a database")


def test_the_password_is_left_out_when_the_reason_has_it() -> None:
    place = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": "/SECRET/socket", "PASSWORD": "SECRET"}
    with alias_of(place) as alias, pytest.raises(LedgerRefusedError) as refused:
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
