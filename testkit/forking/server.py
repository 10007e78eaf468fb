"""Forks Python commands, each as if it were started by itself; run as `python -m testkit.forking.server`.

Nothing that reads the environment is imported before the fork: no settings, so neither models nor what imports them.
Orders come through the socket that is standard input: JSON, with the command's standard files and its own socket. On
that socket the command's process id and a handle of it are sent, and its exit code once it has ended. Linux only.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import warnings
from contextlib import suppress
from typing import Any, cast

from testkit.processes import ROOT, dies_with_us

# Libraries, and the modules of the service that need no settings: nearly all that a start imports. Not `rich`: a test
# examines that the service starts without it.
PRELOADED = (
    "django.contrib.admin",
    "django.contrib.messages.middleware",
    "django.contrib.sessions.middleware",
    "django.core.cache.backends.locmem",
    "django.core.handlers.asgi",
    "django.core.management.commands.makemigrations",
    "django.core.management.commands.migrate",
    "django.db.backends.sqlite3.base",
    "django.middleware.clickjacking",
    "django.middleware.common",
    "django.middleware.csrf",
    "django.middleware.security",
    "django.template.backends.django",
    "django.template.loader_tags",
    "django.views.csrf",
    "django.views.debug",
    "encodings.idna",
    "file.api.responses",
    "file.logic.handleinmultipleaccounts",
    "file.server.serving",
    "file.s3.bucket",
    "mentumfileupload.config.uploadsettings",
    "psycopg",
    "starlette.middleware.cors",
    "starlette.routing",
    "structlog",
)
MAX_ORDER_BYTES = 128 * 1024
_FILES = 4  # standard input, output and errors, and the socket

Order = tuple[list[str], dict[str, str], bool]  # arguments, environment, whether in a session of its own


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a command does not copy the pages that it shares with us
    orders = socket.socket(fileno=os.dup(0))
    if (order := _serve(orders)) is not None:
        _run(*order)


def _serve(orders: socket.socket) -> Order | None:
    """The order, in a process that was forked for it; None in the server, when no order can come any more."""
    die_with_parent, running = dies_with_us(), dict[int, socket.socket]()
    waking, woken = os.pipe2(os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    while True:
        for ready in select.select([orders.fileno(), waking], [], [])[0]:
            if ready == waking:
                os.read(waking, 512)
                _collect(running)
                continue
            message, files, _, _ = socket.recv_fds(orders, MAX_ORDER_BYTES, _FILES)
            if not message:
                return None
            process_id = os.fork()
            if not process_id:
                die_with_parent()
                for each in (orders, *running.values()):
                    each.detach()
                for number, file in enumerate(files[:3]):
                    os.dup2(file, number)
                order: Order = tuple(json.loads(message))
                return order
            for file in files[:3]:
                os.close(file)
            running[process_id] = command = socket.socket(fileno=files[3])
            handle = os.pidfd_open(process_id)  # it was not collected yet, so the id is its own
            with suppress(OSError):  # nothing waits for it any more
                socket.send_fds(command, [str(process_id).encode()], [handle])
            os.close(handle)


def _collect(running: dict[int, socket.socket]) -> None:
    """Sends the exit codes of the commands that have ended."""
    while running:
        process_id, status = os.waitpid(-1, os.WNOHANG)
        if not process_id:
            return
        with running.pop(process_id) as command, suppress(OSError):
            command.send(str(os.waitstatus_to_exitcode(status)).encode())


def _run(arguments: list[str], environment: dict[str, str], new_session: bool) -> None:
    """What Python does with this command line, in this process."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # no file of the server stays open
    if new_session:
        os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    if arguments[0] == "-W":
        warnings.simplefilter(cast(Any, arguments[1]))
        del arguments[:2]
    if arguments[0] == "-c":
        program = arguments.pop(1)
        sys.argv = arguments
        exec(program, {"__name__": "__main__"})  # noqa: S102 - as Python does it
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")


if __name__ == "__main__":
    main()
