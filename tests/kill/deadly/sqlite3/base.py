"""Django's engine, made deadly."""

import sqlite3
from typing import Any

from django.db.backends.sqlite3 import base

from tests.kill.deadly.deaths import Deadly


class _Connection(sqlite3.Connection):
    """Sees the statement that is a transaction in itself (`file/ledger/commit/sqlite.py`)."""

    engine: "DatabaseWrapper"

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if not sql.startswith("INSERT INTO temp.entries"):
            return super().execute(sql, parameters)
        claims, _, outcomes = parameters
        with self.engine.committing(
            {kind for kind, rows in (("intent", claims), ("outcome", outcomes)) if rows != "[]"}
        ):
            return super().execute(sql, parameters)


class DatabaseWrapper(Deadly, base.DatabaseWrapper):
    """Dies at the commit that DEADLY_COMMIT names."""

    def get_new_connection(self, conn_params: Any) -> Any:
        connection = super().get_new_connection({**conn_params, "factory": _Connection})
        connection.engine = self
        connection.set_trace_callback(self.note_direct)
        return connection
