"""Django's `migrate`, without the checks of our settings, because a release is migrated before it is configured.

A statement may take longer than in the service, because a migration of a large table takes its time. It waits for a
lock only as long as the service does, because all other work would wait behind it.
"""

from typing import Any

from django.core.management.commands import migrate
from django.db import connections

from file.checks import TAGS_WITHOUT_SETTINGS
from file.ledger.database.privatefiles import keep_private, ledger_file


class Command(migrate.Command):
    requires_system_checks = TAGS_WITHOUT_SETTINGS

    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = 0")
        elif (ledger := ledger_file(options["database"])) is not None:
            keep_private(ledger)
        super().handle(*args, **options)
