"""What verifying asks the ledger, on both databases: which replicas it has, and what it knows of listed objects."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
from django.db import connections
from django.db.models import Q
from django.db.models.functions import Now

from bench.ledger_rows import whole_tables_in
from file.ledger.audit.known import Fate, KnownObjects, Standing
from file.ledger.audit.replicas import Replicas
from file.logic.naming import begun_at, new_file_id
from file.logic.ports import ListedUpload
from file.logic.values import MiB, ReplicaState
from file.models import File, GivenUpFile, OpenUpload, Replica, RetiredAccount
from testkit.memorybucket import account
from tests.intents import PREFIX, intent
from tests.unit.ledger.conftest import Filled
from tests.unit.ledger.looking import ask, change_replicas, execute, ledger_on
from tests.unit.ledger.verified import add, recorded_in, threads_on
from tests.unit.ledger.working import acknowledged

A = account("A", PREFIX)
T = TypeVar("T")


@pytest.fixture
def large(filled: Filled) -> str:
    return filled(4_000)


async def test_an_account_has_to_show_what_is_stored_there(database: str) -> None:
    await add(database, "a/1", "a/2", "b/1")
    await add(database, "a/behind", behind="A")
    found = await recorded_in(database, "A")
    assert sorted(found) == ["a/1", "a/2", "b/1"]
    one = found["a/1"]
    assert (one.account, one.bucket, one.object_key, one.etag) == ("A", "bucket-a", PREFIX + "a/1", '"etag"')
    assert (one.version_id, one.state, one.digests.size, one.digests.crc64nvme) == ("v1", ReplicaState.STORED, 3, 7)
    assert sorted(await recorded_in(database, "A", "a/")) == ["a/1", "a/2"]
    assert sorted(await recorded_in(database, "B", "a/")) == ["a/1", "a/2", "a/behind"]
    assert await recorded_in(database, "A", "c") == await recorded_in(database, "A", "\0") == {}
    assert await recorded_in(database, "Z") == {}


@pytest.mark.parametrize("prefix", ["", "team-1"])
async def test_everything_is_met_once_when_there_are_many_windows(large: str, prefix: str) -> None:
    query = Replica.objects.using(large).filter(
        account="A", state="stored", file__state__in=("stored", "partial"), file__key__startswith=prefix
    )
    expected = await ask(large, lambda: sorted(query.values_list("pk", flat=True)))
    assert len(expected) > 500
    async with threads_on(large) as threads:
        batches = [batch async for batch in Replicas(threads, large).batches("A", prefix)]
    assert len(batches) > 2
    assert sorted(recorded.id for batch, _ in batches for recorded in batch) == expected
    assert max(len(batch) for batch, _ in batches) <= 1_500
    assert [reached for _, reached in batches] == sorted(reached for _, reached in batches)
    assert batches[-1][1] == (0.0 if prefix else 1.0)


@pytest.mark.parametrize(("count", "prefix"), [(10, ""), (1_000, ""), (100_000, ""), (7, "team-1"), (1, "nobody's")])
async def test_a_sample_is_as_large_as_asked_for_and_none_comes_twice(large: str, count: int, prefix: str) -> None:
    there = {recorded.id for recorded in (await recorded_in(large, "A", prefix)).values()}
    async with threads_on(large) as threads:
        batches = [batch async for batch in Replicas(threads, large).sample("A", count, prefix)]
    drawn = [recorded.id for batch in batches for recorded in batch]
    assert len(drawn) == len(set(drawn)) == min(count, len(there))
    assert set(drawn) <= there


async def test_a_replica_that_was_never_verified_is_drawn_when_there_is_one(database: str) -> None:
    await add(database, "k0", "k1", "k2")
    await change_replicas(database, "A", verified_at=Now())
    new = Replica.objects.using(database).filter(account="A", file__key="k2")
    await ask(database, lambda: new.update(verified_at=None))
    async with threads_on(database) as threads:
        drawn = [await Replicas(threads, database).one("A") for _ in range(20)]
        assert await Replicas(threads, database).one("Z") is None
    keys = {one.key for one in drawn if one is not None}  # None: the draw began behind the last
    assert keys == {"k2"}


async def test_nothing_is_drawn_from_an_empty_ledger(database: str) -> None:
    async with threads_on(database) as threads:
        replicas = Replicas(threads, database)
        assert await replicas.one("A") is None
        assert [batch async for batch in replicas.sample("A", 3)] == []
        assert [batch async for batch in replicas.batches("A")] == []
        assert await replicas.elsewhere(["A"]) == {}
        assert await KnownObjects(threads, database).last_begun() is None


async def test_replicas_are_counted_when_their_account_is_not_configured(database: str) -> None:
    await add(database, "k", "other")
    await add(database, "third", behind="C")
    async with threads_on(database) as threads:
        assert await Replicas(threads, database).elsewhere(["A"]) == {"B": 3, "C": 2}
        assert await Replicas(threads, database).elsewhere(["A", "B", "C"]) == {}
        retired = RetiredAccount.objects.using(database)
        await ask(database, lambda: retired.create(name="C", keeps=True, retired_at=Now()))
        assert await Replicas(threads, database).elsewhere(["A"]) == {"B": 3}


async def test_keys_are_known_when_a_file_is_there_or_on_its_way(database: str) -> None:
    await add(database, "stored")
    await add(database, "behind", behind="A")
    async with ledger_on(database) as ledger:
        elsewhere = await acknowledged(ledger, "elsewhere", places=intent("elsewhere").places[1:])
        await ledger.intend(received := intent("received"))
        keys = ["stored", "behind", "elsewhere", "received", "nobody's", "no\0body's"]
        async with threads_on(database) as threads:
            known_objects = KnownObjects(threads, database)
            known = await known_objects.known(A, [PREFIX + key for key in keys])
            assert known == {PREFIX + key for key in ("stored", "behind", "received")}
            assert await known_objects.known(account("A"), ["stored", "received"]) == set()
            assert await known_objects.known(replace(A, s3_bucket_name="x"), [PREFIX + "stored"]) == set()
            given_up = new_file_id()
            rows = GivenUpFile.objects.using(database)
            await ask(database, lambda: rows.create(id=given_up, given_up_at=Now()))
            fates = await known_objects.fates([received.id, elsewhere.id, given_up, intent().id])
            assert fates == {received.id: Fate.KEPT, elsewhere.id: Fate.KEPT, given_up: Fate.GONE}
            assert await known_objects.last_begun() == begun_at(received.id)


async def test_open_uploads_are_left_under_way_or_unknown_when_they_are_judged(database: str) -> None:
    [done, noted] = await add(database, "done", "noted")
    [behind] = await add(database, "behind", behind="A")
    received, now = intent("received"), datetime.now(UTC)
    rows, hour = OpenUpload.objects.using(database), timedelta(hours=1)
    for of, upload_id in ((noted, "noted"), (behind, "behind")):
        note = partial(rows.create, file_id=of.id, account="A", upload_id=upload_id, created_at=Now())
        await ask(database, note)
    file = File.objects.using(database).filter(pk=done.id)
    await ask(database, partial(file.update, created_at=Now() - 2 * hour, part_size=8 * MiB))
    met = [
        ("noted", "noted", now, Standing.LEFT),
        ("behind", "behind", now, Standing.UNDER_WAY),
        ("received", "x", now, Standing.UNDER_WAY),
        ("done", "x", now - hour, Standing.LEFT),
        ("done", "y", now - 3 * hour, Standing.UNKNOWN),
        ("done", "y", now + hour, Standing.UNKNOWN),
        ("done", "z", None, Standing.UNKNOWN),
        ("nobody's", "x", now, Standing.UNKNOWN),
    ]
    async with ledger_on(database) as ledger, threads_on(database) as threads:
        await ledger.intend(received)
        known_objects = KnownObjects(threads, database)
        judged = await known_objects.judge_uploads(
            A, [ListedUpload(object_key=PREFIX + key, upload_id=upload_id, begun=at) for key, upload_id, at, _ in met]
        )
        assert [one.standing for one in judged] == [standing for *_, standing in met]
        assert [one.noted for one in judged[:4]] == [True, True, False, False]
        assert judged[3].since is not None
        assert judged[3].until is not None
        assert judged[3].until - judged[3].since > 2 * hour - timedelta(minutes=1)
        await known_objects.aborted("A", "noted")
    assert await ask(database, lambda: [note.upload_id for note in rows.all()]) == ["behind"]


class Here:
    """Runs the work in the thread of the caller."""

    async def run(self, work: Callable[[], T], /) -> T:
        return work()


def run_here(asked: Coroutine[Any, Any, object]) -> None:
    """Without an event loop, in which the ORM refuses to work."""
    with pytest.raises(StopIteration):
        asked.send(None)


def test_windows_and_draws_use_an_index_when_the_ledger_is_large(filled: Filled) -> None:
    database = filled(20_000)
    statements: list[tuple[str, Any]] = []

    def remember(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    nobody: Any = None
    replicas = Replicas(nobody, database)
    first, last = replicas._ends()  # the two ends of the table itself
    with connections[database].execute_wrapper(remember):
        end = replicas._end_of_window(first + 5_000, last)
        assert replicas._chosen("A", first + 9, last)
        assert replicas._loaded("A", Q(pk__gt=first + 5_000, pk__lte=first + 5_100))
        page = replicas._keys("team-1", "")
        assert replicas._loaded("A", Q(file_id__in=[file_id for file_id, _ in page[:20]]))
        known_objects = KnownObjects(Here(), database)
        run_here(known_objects.known(A, [PREFIX + key for _, key in page]))
        run_here(known_objects.last_begun())
        run_here(known_objects.fates([str(file_id) for file_id, _ in page]))
    assert end == first + 6_500
    assert len(page) == 500
    explain = "EXPLAIN " if connections[database].vendor == "postgresql" else "EXPLAIN QUERY PLAN "
    for sql, params in statements:
        plan = "\n".join(" ".join(map(str, row)) for row in execute(database, explain + sql, *params))
        assert not whole_tables_in(plan), (sql, plan)
