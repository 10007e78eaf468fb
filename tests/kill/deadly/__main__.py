"""Forks services, each a `manage.py runserver` with the deadly engine and the smallest parts that S3 allows.

Everything is imported once, so that a service starts in a fraction of the time. An order is a line of JSON on standard
input; answered are the service's process id and, once it has ended, its exit code. One service at a time.
"""

import dataclasses
import gc
import importlib
import json
import os
import sys
from typing import NoReturn

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.management import call_command, execute_from_command_line
from django.db.migrations.loader import MigrationLoader

from testkit.processes import dies_with_us

PART_BYTES = 5 * 1024 * 1024


def become(address: str, log: str, commit: str) -> NoReturn:
    """In the child: close the pipes, so that only the parent answers."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for output in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), output)
    os.environ["DEADLY_COMMIT"] = commit
    try:
        execute_from_command_line(["manage.py", "runserver", address])
    finally:
        sys.stderr.flush()
        os._exit(1)  # only the parent goes on in `main`


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mentumfileupload.settings")
    database = settings.DATABASES["default"]
    database["ENGINE"] = database["ENGINE"].replace("django.db.backends", "tests.kill.deadly")
    limits = dataclasses.replace(settings.UPLOAD.limits, part_size=PART_BYTES)
    settings.UPLOAD = dataclasses.replace(settings.UPLOAD, limits=limits)
    django.setup()
    importlib.import_module("file.management.commands.runserver")
    # What a start imports besides: the migrations, all that the checks examine, and the middlewares.
    MigrationLoader(None)
    call_command("check", stdout=sys.stderr)
    ASGIHandler()
    gc.collect()
    gc.freeze()  # a collection in a service does not copy the pages that it shares with us
    child, die_with_parent = 0, dies_with_us()
    for line in sys.stdin:
        if child:
            os.waitpid(child, 0)
        child = os.fork()
        if not child:
            die_with_parent()
            become(**json.loads(line))
        print(child, flush=True)  # noqa: T201
        # Not collected before the next order: until then no other process gets this id.
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        print(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
