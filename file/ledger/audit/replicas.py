"""The replicas that an account should show: all of them, those of some keys, or a random sample.

Promises: each query reads a bounded window of rows by an index, however many rows there are, and only the requested
rows are held in memory. Rows that are written meanwhile may be missed. Leaves to others: writing (`verification.py`).
"""

import random
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from django.db.models import Count, Q, QuerySet

from file.ledger.database.threads import LedgerPart
from file.ledger.read.queries import is_storable, listing
from file.ledger.read.receipts import digests_of
from file.ledger.states import ACKNOWLEDGED, SHOWN
from file.logic.errors import ReplacedError, ReplicaMissingError
from file.logic.values import Digests, ReplicaState
from file.models import Replica, RetiredAccount

MISSING = ReplicaMissingError.code
REPLACED = ReplacedError.code  # the error code of a replica for which the account has another object

_WINDOW = 1_500  # replicas of all accounts per query
_KEYS = 500
_LOADED = 200
_CANDIDATES = 16  # the rows after a random place, among which `_chosen` chooses


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A replica in the ledger: `stored`, or `blocked` because it was replaced. `key`: without the account's prefix."""

    id: int
    file_id: str
    key: str
    account: str
    bucket: str
    object_key: str
    state: ReplicaState
    error_code: str | None
    etag: str | None
    version_id: str | None
    digests: Digests


class Replicas(LedgerPart):
    """Reads the database `alias`. Raises `LedgerUnavailableError`."""

    async def batches(self, account: str, prefix: str = "") -> AsyncGenerator[tuple[Sequence[Recorded], float]]:
        """All replicas that the account should show, of keys with this prefix; with the part of the ledger that was
        read, from 0 to 1, which stays 0 for a prefix.
        """
        if prefix:
            after = ""
            while page := await self._runs.run(partial(self._keys, prefix, after)):
                of_page = Q(file_id__in=[file_id for file_id, _ in page])
                yield await self._load(account, of_page), 0.0
                after = page[-1][1]
            return
        first, last = await self._runs.run(self._ends)
        reached = first - 1
        while reached < last:
            end = await self._runs.run(partial(self._end_of_window, reached, last))
            yield await self._load(account, Q(pk__gt=reached, pk__lte=end)), (end - first + 1) / (last - first + 1)
            reached = end

    async def sample(self, account: str, count: int, prefix: str = "") -> AsyncGenerator[Sequence[Recorded]]:
        """A random sample of `count` replicas of the account, or all if there are fewer."""
        first, last = await self._runs.run(self._ends)
        if prefix or last - first < _CANDIDATES * count:
            ids = list(await self._sample_of_all(account, count, prefix))
        else:
            ids = list(await self._sample_by_places(account, count, first, last))
        for start in range(0, len(ids), _LOADED):
            yield await self._load(account, Q(pk__in=ids[start : start + _LOADED]))

    async def one(self, account: str) -> Recorded | None:
        """Of some rows after a random place, the replica that was verified the longest ago. None if none is fit."""
        first, last = await self._runs.run(self._ends)
        chosen = await self._runs.run(partial(self._chosen, account, first, last))
        loaded = [] if chosen is None else await self._load(account, Q(pk=chosen))
        return loaded[0] if loaded else None

    async def elsewhere(self, accounts: Collection[str]) -> dict[str, int]:
        """The number of stored replicas in accounts that are not among these and not retired, by account."""
        retired = RetiredAccount.objects.using(self._alias).values_list("name", flat=True)
        accounts = [*accounts, *await self._runs.run(partial(list, retired))]
        first, last = await self._runs.run(self._ends)
        counts: dict[str, int] = {}
        reached = first - 1
        while reached < last:
            end = await self._runs.run(partial(self._end_of_window, reached, last))
            for account, count in await self._runs.run(partial(self._others, accounts, reached, end)):
                counts[account] = counts.get(account, 0) + count
            reached = end
        return counts

    async def _load(self, account: str, which: Q) -> Sequence[Recorded]:
        return await self._runs.run(partial(self._loaded, account, which))

    async def _sample_by_places(self, account: str, count: int, first: int, last: int) -> set[int]:
        sampled: set[int] = set()
        for _ in range(4 * count):  # some places have no fitting replica, or one that is sampled already
            chosen = await self._runs.run(partial(self._chosen, account, first, last))
            sampled |= set() if chosen is None else {chosen}
            if len(sampled) == count:
                break
        return sampled

    async def _sample_of_all(self, account: str, count: int, prefix: str) -> set[int]:
        """Each replica with the same probability, in one pass: the k-th replaces one with the probability count/k."""
        sampled: list[int] = []
        met = 0
        async for batch, _ in self.batches(account, prefix):
            for recorded in batch:
                met += 1
                if len(sampled) < count:
                    sampled.append(recorded.id)
                elif (place := random.randrange(met)) < count:  # noqa: S311 - a sample, no secret
                    sampled[place] = recorded.id
        return set(sampled)

    def _replicas(self) -> QuerySet[Replica]:
        return Replica.objects.using(self._alias)

    def _ends(self) -> tuple[int, int]:
        """The first and the last primary key; 1 and 0 for an empty table."""
        ids = self._replicas().values_list("pk", flat=True)
        return ids.order_by("pk").first() or 1, ids.order_by("-pk").first() or 0

    def _end_of_window(self, after: int, last: int) -> int:
        ids = self._replicas().filter(pk__gt=after, pk__lte=last).order_by("pk").values_list("pk", flat=True)
        return next(iter(ids[_WINDOW - 1 : _WINDOW]), last)

    def _keys(self, prefix: str, after: str) -> list[tuple[object, str]]:
        if not is_storable(prefix):
            return []
        return list(listing(self._alias, prefix=prefix, after=after).values_list("pk", "key")[:_KEYS])

    def _others(self, accounts: Collection[str], after: int, last: int) -> list[tuple[str, int]]:
        stored = self._replicas().filter(pk__gt=after, pk__lte=last, state=ReplicaState.STORED)
        counted = stored.exclude(account__in=list(accounts)).values("account").annotate(count=Count("pk"))
        return list(counted.order_by("account").values_list("account", "count"))

    def _loaded(self, account: str, which: Q) -> Sequence[Recorded]:
        found = self._replicas().filter(which, SHOWN, account=account, file__state__in=ACKNOWLEDGED)
        return [_recorded(replica) for replica in found.select_related("file").order_by("pk")]

    def _chosen(self, account: str, first: int, last: int) -> int | None:
        if last < first:
            return None
        start = random.randint(first, last)  # noqa: S311 - a sample, no secret
        rows = (
            self._replicas().filter(pk__gte=start).order_by("pk").values_list("pk", "verified_at", "account", "state")
        )
        fit = [(verified, pk) for pk, verified, *of in rows[:_CANDIDATES] if of == [account, ReplicaState.STORED]]
        never = [pk for verified, pk in fit if verified is None]
        verified = [(verified, pk) for verified, pk in fit if verified is not None]
        return never[0] if never else min(verified)[1] if verified else None


def _recorded(replica: Replica) -> Recorded:
    file = replica.file
    return Recorded(
        id=replica.pk,
        file_id=str(file.pk),
        key=file.key,
        account=replica.account,
        bucket=replica.bucket,
        object_key=replica.object_key,
        state=ReplicaState(replica.state),
        error_code=replica.error_code,
        etag=replica.etag,
        version_id=replica.version_id,
        digests=digests_of(file),
    )
