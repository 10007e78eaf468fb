"""What verifying writes into the ledger, on both databases: the last good replica is never demoted."""

import asyncio
from datetime import timedelta
from itertools import chain

import pytest
from django.db.models.functions import Now

from file.ledger.audit.replicas import MISSING, REPLACED, Recorded
from file.ledger.audit.verification import Change, Demotion
from file.logic.values import ReplicaState
from file.models import Replica
from tests.intents import PREFIX, stored
from tests.unit.ledger.looking import ask, change_replicas, files_in, ledger_on, replicas_in
from tests.unit.ledger.verified import add, demoted, recorded_in, shown, states_in, verifying
from tests.unit.ledger.working import claims_of, erasures_of, results_of


async def of_k(database: str, name: str = "A") -> Recorded:
    return (await recorded_in(database, name))["k"]


async def of_new_k(database: str) -> Recorded:
    await add(database, "k")
    return await of_k(database)


async def of_k_replaced(database: str) -> Recorded:
    """A's replica, after verifying found another object in its place."""
    assert await demoted(database, await of_new_k(database), REPLACED) == Demotion(Change.BLOCKED, 2)
    return await of_k(database)


async def test_the_last_good_replica_is_never_demoted(database: str) -> None:
    await add(database, "k")
    rows = {name: await of_k(database, name) for name in "ABC"}
    assert await demoted(database, rows["A"], MISSING) == Demotion(Change.PENDING, 2)
    assert (await files_in(database))["k"].state == "partial"
    assert await demoted(database, rows["B"], REPLACED) == Demotion(Change.BLOCKED, 1)
    assert await demoted(database, rows["C"], MISSING) == Demotion(Change.KEPT, 0)
    assert await states_in(database) == {
        "A": ("pending", MISSING),
        "B": ("blocked", REPLACED),
        "C": ("stored", MISSING),
    }
    due = Replica.objects.using(database).filter(due_at__lte=Now())
    assert await ask(database, lambda: [replica.account for replica in due]) == ["A"]
    # It is demoted once another account has the file again.
    await change_replicas(database, "A", state="stored", error_code=None, due_at=None)
    row = await of_k(database, "C")
    assert await demoted(database, row, MISSING) == Demotion(Change.PENDING, 1)


async def test_a_marked_replica_does_not_count_as_good(database: str) -> None:
    await add(database, "k")
    await change_replicas(database, "B", error_code=MISSING)
    await change_replicas(database, "C", error_code=REPLACED)
    assert await demoted(database, await of_k(database), REPLACED) == Demotion(Change.KEPT, 0)


@pytest.mark.parametrize("turn", range(5))
async def test_one_stays_when_two_verify_the_last_two_at_once(database: str, turn: int) -> None:
    keys = [f"k{number}" for number in range(10)]
    await add(database, *keys, behind="C")
    rows = [await recorded_in(database, name) for name in "AB"]
    code = MISSING if turn % 2 else REPLACED
    async with verifying(database) as one, verifying(database) as other:
        demotions = [(one.demote(rows[0][key], code), other.demote(rows[1][key], code)) for key in keys]
        await asyncio.gather(*chain.from_iterable(demotions))
    for key in keys:
        states = await states_in(database, key)
        assert sorted(state == "stored" for state, _ in (states["A"], states["B"])) == [False, True], states


async def test_nothing_is_marked_when_the_file_is_erased_meanwhile(database: str) -> None:
    row = await of_new_k(database)
    async with ledger_on(database) as ledger:
        await erasures_of(ledger, database).begin("k")
    before = await states_in(database)
    for code in (MISSING, REPLACED):
        assert (await demoted(database, row, code)).change is Change.OVERTAKEN
    async with verifying(database) as verification:
        await verification.verified([(row, shown(row)), (row, shown(row, etag="new"))])
    assert await states_in(database) == before == dict.fromkeys("ABC", ("erasing", None))
    assert (await replicas_in(database))["A"].verified_at is None


@pytest.mark.parametrize("turn", range(5))
async def test_an_erasure_wins_when_it_begins_during_verifying(database: str, turn: int) -> None:
    await add(database, *(keys := [f"{turn}-{number}" for number in range(10)]))
    rows = await recorded_in(database, "A")
    async with ledger_on(database) as ledger, verifying(database) as verification:
        erasures = erasures_of(ledger, database)
        await asyncio.gather(
            *(work for key in keys for work in (erasures.begin(key), verification.demote(rows[key], MISSING)))
        )
    for key in keys:
        assert {state for state, _ in (await states_in(database, key)).values()} == {"erasing"}
        assert (await files_in(database))[key].state == "erasing"


@pytest.mark.parametrize("field", ["etag", "version_id"])
async def test_nothing_is_marked_when_the_replica_was_stored_anew_meanwhile(database: str, field: str) -> None:
    row = await of_new_k(database)
    await change_replicas(database, "A", **{field: "another"})
    assert (await demoted(database, row, MISSING)).change is Change.OVERTAKEN
    assert (await states_in(database))["A"] == ("stored", None)
    assert (await files_in(database))["k"].state == "stored"


async def test_the_result_is_the_same_and_nothing_is_written_when_it_is_a_dry_run(database: str) -> None:
    await add(database, "k")
    rows = {name: await of_k(database, name) for name in "ABC"}
    assert await demoted(database, rows["A"], MISSING, dry_run=True) == Demotion(Change.PENDING, 2)
    assert await demoted(database, rows["B"], REPLACED, dry_run=True, gone={"A"}) == Demotion(Change.BLOCKED, 1)
    assert await demoted(database, rows["C"], MISSING, dry_run=True, gone={"A", "B"}) == Demotion(Change.KEPT, 0)
    assert await states_in(database) == dict.fromkeys("ABC", ("stored", None))
    assert (await files_in(database))["k"].state == "stored"


async def test_the_moment_is_kept_when_an_account_shows_it_as_it_was_stored(database: str) -> None:
    await add(database, "k", "other")
    row = await of_k(database)
    async with verifying(database) as verification:
        await verification.verified([(row, shown(row))])
    verified = {name: replica.verified_at is not None for name, replica in (await replicas_in(database)).items()}
    assert verified == {"A": True, "B": False, "C": False}
    assert (await replicas_in(database, "other"))["A"].verified_at is None


async def test_a_replica_is_read_by_its_new_name_when_its_account_copied_it(database: str) -> None:
    await add(database, "k")
    await change_replicas(database, "A", error_code=MISSING)
    row = await of_k(database)
    async with verifying(database) as verification:
        await verification.verified([(row, shown(row, etag='"new"', version_id="v2"))])
    replica = (await replicas_in(database))["A"]
    assert (replica.state, replica.error_code) == ("stored", None)
    assert (replica.etag, replica.version_id) == ('"new"', "v2")
    assert replica.verified_at is not None


async def test_a_replaced_replica_is_stored_again_when_it_is_found_good(database: str) -> None:
    row = await of_k_replaced(database)
    before = (await replicas_in(database))["A"].stored_at
    assert (row.state, row.error_code) == (ReplicaState.BLOCKED, REPLACED)
    async with verifying(database) as verification:
        await verification.verified([(row, shown(row))])
    assert (await states_in(database))["A"] == ("stored", None)
    assert (await files_in(database))["k"].state == "stored"
    assert (await replicas_in(database))["A"].stored_at == before


async def test_a_replaced_replica_is_pending_when_its_place_is_free_again(database: str) -> None:
    row = await of_k_replaced(database)
    assert await demoted(database, row, REPLACED) == Demotion(Change.BLOCKED, 2)  # still
    assert await demoted(database, row, MISSING) == Demotion(Change.PENDING, 2)
    assert (await states_in(database))["A"] == ("pending", MISSING)
    assert (await files_in(database))["k"].state == "partial"


async def test_a_replica_is_left_alone_when_another_error_blocks_it(database: str) -> None:
    await add(database, "k")
    await change_replicas(database, "A", state="blocked", error_code="access_refused")
    assert await recorded_in(database, "A") == {}


async def test_one_of_two_removes_it_when_both_find_it_damaged(database: str) -> None:
    row = await of_k_replaced(database)
    async with verifying(database) as verification:
        claim = await verification.begin_removal(row)
        assert claim is not None
        assert await verification.begin_removal(row) is None
        assert (await verification.demote(row, MISSING)).change is Change.OVERTAKEN  # it is being removed
        await verification.verified([(row, shown(row))])
        assert (await states_in(database))["A"] == ("blocked", REPLACED)
        assert await verification.end_removal(row, claim, removed=False)
        assert (again := await verification.begin_removal(row)) not in (None, claim)
        assert not await verification.end_removal(row, claim, removed=True)
        assert await verification.end_removal(row, str(again), removed=True)
    assert (await states_in(database))["A"] == ("pending", MISSING)


async def test_nothing_is_removed_when_no_other_account_has_the_file(database: str) -> None:
    row = await of_k_replaced(database)
    await change_replicas(database, "B", state="pending")
    await change_replicas(database, "C", error_code=REPLACED)
    async with verifying(database) as verification:
        assert await verification.begin_removal(row) is None


async def test_a_claim_is_free_again_when_it_ran_out(database: str) -> None:
    row = await of_k_replaced(database)
    async with verifying(database) as verification:
        assert await verification.begin_removal(row) is not None  # and its process dies
        await change_replicas(database, "A", due_at=Now() - timedelta(seconds=1))
        assert await verification.begin_removal(row) is not None


async def test_catch_up_brings_a_replica_when_verifying_found_it_missing(database: str) -> None:
    [wanted] = await add(database, "k")
    await demoted(database, await of_k(database), MISSING)
    async with ledger_on(database) as ledger:
        [due] = await claims_of(ledger, database).claim("A", ReplicaState.PENDING, 10)
        assert (due.file_id, due.object_key, due.lost) == (wanted.id, PREFIX + "k", None)
        assert await results_of(ledger, database).found(due, stored(wanted.places[0]))
    assert (await states_in(database))["A"] == ("stored", None)
    assert (await files_in(database))["k"].state == "stored"
