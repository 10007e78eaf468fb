"""Whose objects are ours: the installation's own id, and the ids of installations that it adopted.

The migration that creates the table also creates the own id, so every copy of the ledger has it. It is in the metadata
of every object. Objects of other installations are not ours. If an object of ours is unknown to the ledger, a later
state of the ledger acknowledged it: then this ledger is an older copy, and is marked as behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from file.ledger.database.threads import LedgerPart, in_thread
from file.models import File, Installation

NO_INSTALLATION = "none"  # for objects that carry no id


@dataclass(frozen=True, slots=True)
class Ownership:
    """`own`: the id of new objects; `ours`: this id and the adopted ones.

    `behind_at`: when it was last noticed that the ledger is behind. `created_at`: when the own id was created.
    """

    own: str
    ours: frozenset[str]
    behind_at: datetime | None
    created_at: datetime


def is_installation(text: str) -> bool:
    """Whether the text may be the id of an installation."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


class Installations(LedgerPart):
    """The installations in the database `alias`. Raises `LedgerUnavailableError`."""

    @in_thread
    def read(self) -> Ownership:
        rows = list(Installation.objects.using(self._alias))
        own = next(row for row in rows if row.is_own)
        # A ledger that took another id since then is still behind.
        behind = [row.behind_at for row in rows if row.behind_at is not None]
        return Ownership(own.id, frozenset(row.id for row in rows), max(behind, default=None), own.created_at)

    @in_thread
    def mark_behind(self) -> None:
        """Marks the ledger as behind: an object was found that only a later state of it knows."""
        Installation.objects.using(self._alias).filter(is_own=True).update(behind_at=Now())

    @in_thread
    def mark_level(self, marked: datetime | None) -> None:
        """Removes the mark after all our objects are in the ledger again. A mark later than `marked` stays."""
        if marked is not None:
            Installation.objects.using(self._alias).filter(behind_at__lte=marked).update(behind_at=None)

    @in_thread
    def adopt(self, ids: Sequence[str]) -> None:
        """Adopts installations: their objects become ours. A ledger without files takes the id of the first one."""
        rows = Installation.objects.using(self._alias)
        with transaction.atomic(using=self._alias):
            rows.bulk_create(
                [Installation(id=each, is_own=False, created_at=Now()) for each in dict.fromkeys(ids)],
                ignore_conflicts=True,
            )
            if ids and not File.objects.using(self._alias).exists():
                # It stays ours, because a running service may still write it.
                rows.filter(is_own=True).update(is_own=False)
                rows.filter(id=ids[0]).update(is_own=True)
