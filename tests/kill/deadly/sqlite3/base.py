"""The engine's own, and deadly."""

from typing import Any

from django.db.backends.sqlite3 import base

from tests.kill.deadly.deaths import Deadly


class DatabaseWrapper(Deadly, base.DatabaseWrapper):
    """Dies at the commit that it is told."""

    def get_new_connection(self, conn_params: Any) -> Any:
        connection = super().get_new_connection(conn_params)
        connection.set_trace_callback(self.note_direct)
        return connection
