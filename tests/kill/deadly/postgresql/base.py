"""Django's engine, made deadly."""

from typing import Any

from django.db.backends.postgresql import base

from tests.kill.deadly.deaths import Deadly


class DatabaseWrapper(Deadly, base.DatabaseWrapper):
    """Dies at the commit that DEADLY_COMMIT names."""

    def get_new_connection(self, conn_params: Any) -> Any:
        connection = super().get_new_connection(conn_params)
        note, its_own = self.note_direct, connection.cursor_factory

        class Noting(its_own):  # type: ignore[misc,valid-type]  # whichever Django chose
            def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
                note(str(query))
                return super().execute(query, *arguments, **options)

        connection.cursor_factory = Noting
        return connection
