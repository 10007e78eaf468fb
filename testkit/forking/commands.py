"""Starts our Python: forked from a process that has imported the libraries, where that was asked for; or by itself.

The tests ask for it (`fork_commands`), because they start hundreds of services and commands. The demo, the soak, the
fuzzer, and the benchmark start Python by itself, as users do; so does a test that is about a start.
"""

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from testkit.processes import ROOT, run_process, start_process

_RUN_SECONDS = 60.0


class Forked:
    """A forked command, with what our users need of `subprocess.Popen`."""

    def __init__(self, command: socket.socket, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        message, (self._handle,), _, _ = socket.recv_fds(command, 64, 1)
        # A number: in a cycle of garbage, a socket would warn that it is open before `__del__` could close it.
        self._command = command.detach()
        self.pid = int(message)
        self.returncode: int | None = None
        self._waiting = threading.Lock()

    def __del__(self) -> None:
        os.close(self._handle)
        os.close(self._command)

    def poll(self) -> int | None:
        """The exit code, or None as long as it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Raises `subprocess.TimeoutExpired`."""
        with self._waiting:
            if self.returncode is None:
                ended = select.poll()
                ended.register(self._command, select.POLLIN)
                if not ended.poll(None if timeout is None else timeout * 1000):
                    raise subprocess.TimeoutExpired(self._arguments, timeout or 0)
                message = os.read(self._command, 64)
                # If the server was killed, so was the command.
                self.returncode = int(message) if message else -signal.SIGKILL
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Not to another process that has the id by now."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Runs as long as this process. A command line is `[-W action]`, then a script, `-c program` or `-m module`."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ordering = threading.Lock()
        with theirs:
            command = [sys.executable, "-m", "testkit.forking.server"]
            self._process = start_process(command, cwd=ROOT, stdin=theirs, start_new_session=True)
        atexit.register(self._close)

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes],
        errors: IO[bytes],
        *,
        new_session: bool = False,
    ) -> Forked:
        """Returns at once."""
        order = json.dumps([list(arguments), dict(environment), new_session]).encode()
        command, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, Path(os.devnull).open("rb") as nothing:
            files = [file.fileno() for file in (nothing, output, errors, theirs)]
            with self._ordering:
                socket.send_fds(self._orders, [order], files)
        return Forked(command, arguments)

    def _close(self) -> None:
        self._orders.close()
        self._process.kill()
        self._process.wait()


_server: Callable[[], ForkServer] | None = None


def fork_commands() -> None:
    """From now on, where the system can: the server starts with the first command."""
    global _server
    if sys.platform == "linux":
        _server = functools.cache(ForkServer)


def start_python(
    arguments: Sequence[str], environment: Mapping[str, str], log: IO[bytes], *, cold: bool = False
) -> Forked | subprocess.Popen[bytes]:
    """Starts our Python in the project's folder and in a session of its own. All that it writes goes to the log."""
    if _server is not None and not cold:
        return _server().start(arguments, environment, log, log, new_session=True)
    return start_process(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs our Python in the project's folder, only with this environment, and without `.env`."""
    kept = ("PATH", "LD_LIBRARY_PATH", "COVERAGE_PROCESS_START")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    told = {**inherited, "UPLOAD_ENV_FILE": "", **environment}
    if _server is not None and "-B" not in arguments:
        return _run_forked(_server(), arguments, told)
    return run_process(
        [sys.executable, *arguments], cwd=ROOT, env=told, capture_output=True, text=True, timeout=_RUN_SECONDS
    )


def _run_forked(
    server: ForkServer, arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        command = server.start(arguments, environment, output, errors)
        try:
            code = command.wait(_RUN_SECONDS)
        except subprocess.TimeoutExpired:
            command.kill()
            raise
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, code, output.read().decode(), errors.read().decode())
