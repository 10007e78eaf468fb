"""Makes any database engine of Django deadly."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

# How the statements begin whose commits make these changes durable.
KINDS = {
    "intent": re.compile(r"INSERT INTO file_file "),
    "upload": re.compile(r'INSERT INTO "file_openupload"'),
    "outcome": re.compile(r"WITH outcome"),
    "left": re.compile(r'INSERT INTO "file_replica"'),
    "taken": re.compile(r'UPDATE "file_file" SET "state"'),
    "claim": re.compile(r'UPDATE "file_replica" SET "owner" = %s'),
    "looked": re.compile(r'UPDATE "file_replica" SET "owner" = NULL, "error_code" = NULL, "last_look" ='),
    "stored": re.compile(r'UPDATE "file_replica" SET .*"etag" ='),
    "erased": re.compile(r'UPDATE "file_replica" SET .*"erased_at" ='),
    "erasing": re.compile(r'UPDATE "file_file" SET "state" = %s, "key_hash"'),
    "failed": re.compile(r'UPDATE "file_replica" SET .*"attempts" = \('),
}
# Run by the driver's own cursor, which Django's wrappers do not see: the engine notes them.
DIRECT = ("intent", "outcome")


class Deadly(BaseDatabaseWrapper):
    """Notes what the open transaction has written, and dies before or after its commit."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._written: set[str] = set()
        self.execute_wrappers.append(self._note)

    def _note(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if not sql.startswith("UPDATE") or context["cursor"].rowcount:  # an update of no row has written nothing
            self._written |= {kind for kind, beginning in KINDS.items() if beginning.match(sql)}
        return result

    def note_direct(self, sql: str) -> None:
        self._written |= {kind for kind in DIRECT if KINDS[kind].match(sql)}

    def _commit(self) -> None:
        with self.committing(set()):
            super()._commit()  # type: ignore[misc]  # Django has it, its stubs do not

    @contextmanager
    def committing(self, written: set[str]) -> Iterator[None]:
        """Around a commit of the noted kinds and of these."""
        self._written |= written
        self._die_if("before")
        try:
            yield
            self._die_if("after")
        finally:
            self._written.clear()

    def _die_if(self, moment: str) -> None:
        # Read late: this object may be older than the fork, and only the service has the variable.
        when, _, kind = os.environ["DEADLY_COMMIT"].partition(":")
        if when == moment and kind in self._written:
            os.kill(os.getpid(), signal.SIGKILL)
