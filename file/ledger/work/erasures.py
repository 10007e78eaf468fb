"""Erasing a file from every account, as the ledger sees it: from the request to the row that keeps only figures.

An erasure is durable before it begins, and continues until every account confirmed that it has nothing of the file.
Name, metadata, digests and sender are deleted at once; the key and the object keys, which are needed to find the
objects, are deleted last, and then the key is free. What stays: the id, a keyed hash of the key, times, the size, and
the result per account.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from file.ledger import states
from file.ledger.commit.writer import Writer
from file.ledger.keyed import key_hashes
from file.ledger.read.queries import is_storable
from file.ledger.read.receipts import erasure_of
from file.ledger.work.claims import Claims, Due, unfinished_replicas_of
from file.logic.values import Erasure, FileState, ReplicaState
from file.models import File, Replica


@dataclass(eq=False, slots=True)
class Erasures:
    """Begins erasures. Raises `LedgerUnavailableError`."""

    writer: Writer
    alias: str
    claims: Claims

    async def begin(
        self, key: str, file_id: str | None = None, accounts: Sequence[str] = ()
    ) -> tuple[Erasure | None, Sequence[Due]]:
        """From now on the file does not exist for a reader. A repeated call reports the progress, and claims what is
        due in these `accounts`.

        None: no file has the key, or another one than `file_id`.
        """
        if not is_storable(key):
            return None, ()
        return await self.writer.run(lambda: self._begin_and_claim(key, file_id, accounts))

    # --- in the writer's thread

    def _begin_and_claim(
        self, key: str, file_id: str | None, accounts: Sequence[str]
    ) -> tuple[Erasure | None, Sequence[Due]]:
        """In one transaction, so that no other worker claims the replicas first, and the caller may wait for them."""
        erasure = self._begin(key, file_id)
        if erasure is None or erasure.is_done:
            return erasure, ()
        replicas = Replica.objects.using(self.alias).filter(file_id=erasure.id, account__in=accounts)
        due = replicas.filter(states.DUE, state=ReplicaState.ERASING)
        return erasure, self.claims.claimed(due, len(accounts))

    def _begin(self, key: str, file_id: str | None) -> Erasure | None:
        files = File.objects.using(self.alias)
        file = files.filter(live=True, key=key).select_for_update().first()
        if file_id is not None and (file is None or str(file.pk) != file_id):
            return None
        if file is None:
            file = files.filter(key_hash__in=key_hashes(key), state=FileState.ERASED).order_by("-erased_at").first()
        elif file.state != FileState.ERASING:
            self._erase(file)
        elif file.key_hash is None:  # never acknowledged, and being removed already
            return None
        else:
            states.hasten(Replica.objects.using(self.alias).filter(file=file))
        return None if file is None else erasure_of(self.alias, str(file.pk))

    def _erase(self, file: File) -> None:
        if not states.erase_file(File.objects.using(self.alias).filter(pk=file.pk), key_hashes(file.key)[0]):
            return
        if file.state == FileState.RECEIVING:
            Replica.objects.using(self.alias).bulk_create(unfinished_replicas_of(file))
        else:
            states.erase_replicas(Replica.objects.using(self.alias).filter(file=file))
