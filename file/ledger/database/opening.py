"""How the service opens its ledger at the start, and when it refuses to.

Promises: the service does not start with a database that lacks migrations, is newer than this release, is in memory, or
is on a network file system (SQLite's locks do not work there). Each refusal is one line without the password. SQLite
is migrated here, after a copy of the old file was made beside it; on PostgreSQL migration is a step of the deployment.
"""

import filecmp
import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.exceptions import InconsistentMigrationHistory
from django.db.migrations.executor import MigrationExecutor

from file.ledger.database.backup import keep_copy, unfinished_copy
from file.ledger.database.privatefiles import keep_private
from file.logic.errors import CommandRefusedError

MOUNTS = Path("/proc/self/mountinfo")  # Linux; elsewhere there is no reliable source

_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|ncpfs|9p|afs|coda|ceph|glusterfs|lustre|gpfs|beegfs|orangefs|pvfs2|gfs2|ocfs2|davfs"
    r"|fuse\.(sshfs|s3fs|goofys|geesefs|gcsfuse|blobfuse2?|rclone|juicefs|seaweedfs|glusterfs|ceph|ceph-fuse|mfs|lizardfs"
    r"|curlftpfs|davfs2?|smbnetfs|nfs|ipfs|mountpoint-s3|google-drive-ocamlfuse|onedriver|beegfs|lustre|objectivefs)"
)


class LedgerRefusedError(CommandRefusedError):
    """The service cannot use this database. `detail` is one line with the reason."""


def open_ledger(alias: str = "default", *, dry_run: bool = False) -> Path | None:
    """Prepares the database, or raises `LedgerRefusedError`. Returns the copy of the old one, if it made one.

    `dry_run`: only reads, and migrates nothing.
    """
    connection = connections[alias]
    try:
        if dry_run:
            _refuse_unmigrated(connection)
            return None
        if connection.vendor == "sqlite":
            return _open_file(connection)
        _open_server(connection)
    except LedgerRefusedError:
        raise
    except InconsistentMigrationHistory as error:
        raise _refused(f"its migrations were applied in another order ({_one_line(error)})") from error
    except (Error, ImproperlyConfigured, CommandError, sqlite3.Error, OSError) as error:
        raise _refused(f"the database cannot be opened: {_reason(connection, error)}") from error
    finally:
        connection.close()
    return None


def network_file_system(path: Path, mounts: str) -> str | None:
    """The type of the network file system that the path is on, or None. `mounts`: as in /proc/self/mountinfo."""
    longest, found = -1, ""
    for line in mounts.splitlines():
        place, _, rest = line.partition(" - ")
        fields = place.split(" ")
        if len(fields) < 6 or not rest:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        # Of two mounts at the same place, the later one is on top.
        if path.is_relative_to(point) and len(point.parts) >= longest:
            longest, found = len(point.parts), rest.split(" ")[0]
    return found if _NETWORK.fullmatch(found) else None


def _open_file(connection: BaseDatabaseWrapper) -> Path | None:
    name = str(connection.settings_dict["NAME"])
    if ":memory:" in name or "mode=memory" in name:
        raise _refused("a database in memory is no ledger, it forgets; name a file: sqlite:///mentum.sqlite3")
    path = Path(name)
    if not path.parent.is_dir():
        raise _refused(f"there is no folder {path.parent}")
    if MOUNTS.exists() and (kind := network_file_system(path.resolve(), MOUNTS.read_text(errors="surrogateescape"))):
        raise _refused(f"{path} is on a network file system ({kind}), where SQLite's locks do not hold; use PostgreSQL")
    keep_private(path)
    missing = _missing_migrations(connection)
    if not missing:
        return None
    copy = _copy_beside(path, missing[-1]) if connection.introspection.table_names() else None
    call_command("migrate", database=connection.alias, interactive=False, verbosity=0)
    return copy


def _refuse_unmigrated(connection: BaseDatabaseWrapper) -> None:
    if missing := _missing_migrations(connection):
        raise _refused(f"the ledger is of an earlier release (it lacks {missing[-1]}), and a dry run migrates nothing")


def _open_server(connection: BaseDatabaseWrapper) -> None:
    if missing := _missing_migrations(connection):
        more = "" if len(missing) == 1 else f" and {len(missing) - 1} more"
        raise _refused(f"the database lacks migrations ({missing[-1]}{more}); run: python manage.py migrate")


def _missing_migrations(connection: BaseDatabaseWrapper) -> list[str]:
    """The missing migrations as `app.name`, ours last. Refuses a database that is newer than this release."""
    executor = MigrationExecutor(connection)
    loader = executor.loader
    loader.check_consistent_history(connection)
    replaced = {key for migration in loader.replacements.values() for key in migration.replaces}
    known = {*loader.disk_migrations, *replaced}
    ahead = sorted(key for key in loader.applied_migrations if key[0] in loader.migrated_apps and key not in known)
    if ahead:
        raise _refused(f"the database was migrated by a newer release ({'.'.join(ahead[-1])}); start that one")
    plan = [migration for migration, _ in executor.migration_plan(loader.graph.leaf_nodes())]
    return [f"{m.app_label}.{m.name}" for m in sorted(plan, key=lambda migration: migration.app_label == "file")]


def _copy_beside(path: Path, migration: str) -> Path:
    """Makes the copy before a migration. Repeated starts that fail in the migration leave only one copy."""
    target = path.with_name(f"{path.name}.before-{migration}")
    unfinished = unfinished_copy(path, path.parent)
    for earlier in path.parent.glob(f"{path.name}.before-{migration}*"):
        if filecmp.cmp(unfinished, earlier, shallow=False):
            unfinished.unlink()
            return earlier
    if target.exists():
        target = target.with_name(f"{target.name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")
    keep_copy(unfinished, target)
    return target


def _refused(reason: str) -> LedgerRefusedError:
    return LedgerRefusedError(f"DATABASE_URL: {reason}")


def _reason(connection: BaseDatabaseWrapper, error: BaseException) -> str:
    text = _one_line(error)
    if (password := str(connection.settings_dict["PASSWORD"])) and password in text:
        return type(error).__name__
    return text


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
