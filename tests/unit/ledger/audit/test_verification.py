"""What verifying writes into the ledger, on both databases: no good replica is demoted that was the last."""

import asyncio
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from file.ledger.audit.replicas import MISSING, REPLACED
from file.ledger.audit.verification import Change, Demotion, Verification
from file.ledger.work.claims import Claims
from file.ledger.work.results import Results
from file.logic.values import ReplicaState
from file.models import Replica
from tests.intents import PREFIX, stored
from tests.unit.ledger.looking import ask, erasures_of, files_in, ledger_on, replicas_in
from tests.unit.ledger.verified import add, change, demoted, recorded_in, shown, states_in, threads_on


async def test_the_last_good_replica_is_never_demoted(database: str) -> None:
    await add(database, "k")
    rows = {name: (await recorded_in(database, name))["k"] for name in "ABC"}
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
    # Once another account has the file again, it is.
    await change(database, "A", state="stored", error_code=None, due_at=None)
    row = (await recorded_in(database, "C"))["k"]
    assert await demoted(database, row, MISSING) == Demotion(Change.PENDING, 1)


async def test_a_marked_replica_does_not_count_as_good(database: str) -> None:
    await add(database, "k")
    await change(database, "B", error_code=MISSING)
    await change(database, "C", error_code=REPLACED)
    assert await demoted(database, (await recorded_in(database, "A"))["k"], REPLACED) == Demotion(Change.KEPT, 0)


@pytest.mark.parametrize("turn", range(5))
async def test_one_stays_when_two_verify_the_last_two_at_once(database: str, turn: int) -> None:
    keys = [f"k{number}" for number in range(10)]
    await add(database, *keys, behind="C")
    rows = [await recorded_in(database, name) for name in "AB"]
    async with threads_on(database) as one, threads_on(database) as other:
        verifications = [Verification(threads, database) for threads in (one, other)]
        await asyncio.gather(
            *(
                verification.demote(of_account[key], MISSING if turn % 2 else REPLACED)
                for key in keys
                for verification, of_account in zip(verifications, rows, strict=True)
            )
        )
    for key in keys:
        states = await states_in(database, key)
        assert sorted(state == "stored" for state, _ in (states["A"], states["B"])) == [False, True], states


async def test_nothing_is_marked_when_the_file_is_erased_meanwhile(database: str) -> None:
    await add(database, "k")
    row = (await recorded_in(database, "A"))["k"]
    async with ledger_on(database) as ledger:
        await erasures_of(ledger, database).begin("k")
    before = await states_in(database)
    for code in (MISSING, REPLACED):
        assert (await demoted(database, row, code)).change is Change.OVERTAKEN
    async with threads_on(database) as threads:
        await Verification(threads, database).verified([(row, shown(row)), (row, shown(row, etag="new"))])
    assert await states_in(database) == before == dict.fromkeys("ABC", ("erasing", None))
    assert (await replicas_in(database))["A"].verified_at is None


@pytest.mark.parametrize("turn", range(5))
async def test_an_erasure_wins_when_it_begins_beside_verifying(database: str, turn: int) -> None:
    await add(database, *(keys := [f"{turn}-{number}" for number in range(10)]))
    rows = await recorded_in(database, "A")
    async with ledger_on(database) as ledger, threads_on(database) as threads:
        erasures, verification = erasures_of(ledger, database), Verification(threads, database)
        await asyncio.gather(
            *(work for key in keys for work in (erasures.begin(key), verification.demote(rows[key], MISSING)))
        )
    for key in keys:
        assert {state for state, _ in (await states_in(database, key)).values()} == {"erasing"}
        assert (await files_in(database))[key].state == "erasing"


@pytest.mark.parametrize("field", ["etag", "version_id"])
async def test_nothing_is_marked_when_the_replica_was_stored_anew_meanwhile(database: str, field: str) -> None:
    await add(database, "k")
    row = (await recorded_in(database, "A"))["k"]
    await change(database, "A", **{field: "another"})
    assert (await demoted(database, row, MISSING)).change is Change.OVERTAKEN
    assert (await states_in(database))["A"] == ("stored", None)
    assert (await files_in(database))["k"].state == "stored"


async def test_a_dry_run_says_the_same_and_writes_nothing(database: str) -> None:
    await add(database, "k")
    rows = {name: (await recorded_in(database, name))["k"] for name in "ABC"}
    assert await demoted(database, rows["A"], MISSING, dry_run=True) == Demotion(Change.PENDING, 2)
    assert await demoted(database, rows["B"], REPLACED, dry_run=True, gone={"A"}) == Demotion(Change.BLOCKED, 1)
    assert await demoted(database, rows["C"], MISSING, dry_run=True, gone={"A", "B"}) == Demotion(Change.KEPT, 0)
    assert await states_in(database) == dict.fromkeys("ABC", ("stored", None))
    assert (await files_in(database))["k"].state == "stored"


async def test_the_moment_is_kept_when_an_account_shows_it_as_it_was_stored(database: str) -> None:
    await add(database, "k", "other")
    row = (await recorded_in(database, "A"))["k"]
    async with threads_on(database) as threads:
        await Verification(threads, database).verified([(row, shown(row))])
    verified = {name: replica.verified_at is not None for name, replica in (await replicas_in(database)).items()}
    assert verified == {"A": True, "B": False, "C": False}
    assert (await replicas_in(database, "other"))["A"].verified_at is None


async def test_a_replica_is_read_by_its_new_name_when_its_account_copied_it(database: str) -> None:
    await add(database, "k")
    await change(database, "A", error_code=MISSING)
    row = (await recorded_in(database, "A"))["k"]
    async with threads_on(database) as threads:
        await Verification(threads, database).verified([(row, shown(row, etag='"new"', version_id="v2"))])
    replica = (await replicas_in(database))["A"]
    told = (replica.state, replica.error_code, replica.etag, replica.version_id)
    assert told == ("stored", None, '"new"', "v2")
    assert replica.verified_at is not None


async def test_a_replaced_replica_is_stored_again_when_it_is_found_good(database: str) -> None:
    await add(database, "k")
    assert (await demoted(database, (await recorded_in(database, "A"))["k"], REPLACED)).change is Change.BLOCKED
    before = (await replicas_in(database))["A"].stored_at
    row = (await recorded_in(database, "A"))["k"]
    assert (row.state, row.error_code) == (ReplicaState.BLOCKED, REPLACED)
    async with threads_on(database) as threads:
        await Verification(threads, database).verified([(row, shown(row))])
    assert (await states_in(database))["A"] == ("stored", None)
    assert (await files_in(database))["k"].state == "stored"
    assert (await replicas_in(database))["A"].stored_at == before


async def test_a_replaced_replica_is_pending_when_its_place_is_free_again(database: str) -> None:
    await add(database, "k")
    await demoted(database, (await recorded_in(database, "A"))["k"], REPLACED)
    row = (await recorded_in(database, "A"))["k"]
    assert await demoted(database, row, REPLACED) == Demotion(Change.BLOCKED, 2)  # still
    assert await demoted(database, row, MISSING) == Demotion(Change.PENDING, 2)
    assert (await states_in(database))["A"] == ("pending", MISSING)
    assert (await files_in(database))["k"].state == "partial"


async def test_what_is_blocked_by_something_else_is_left_alone(database: str) -> None:
    await add(database, "k")
    await change(database, "A", state="blocked", error_code="access_refused")
    assert await recorded_in(database, "A") == {}


async def test_one_of_two_removes_what_is_damaged(database: str) -> None:
    await add(database, "k")
    await demoted(database, (await recorded_in(database, "A"))["k"], REPLACED)
    row = (await recorded_in(database, "A"))["k"]
    async with threads_on(database) as threads:
        verification = Verification(threads, database)
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
    await add(database, "k")
    await demoted(database, (await recorded_in(database, "A"))["k"], REPLACED)
    row = (await recorded_in(database, "A"))["k"]
    await change(database, "B", state="pending")
    await change(database, "C", error_code=REPLACED)
    async with threads_on(database) as threads:
        assert await Verification(threads, database).begin_removal(row) is None


async def test_a_claim_is_free_again_when_it_ran_out(database: str) -> None:
    await add(database, "k")
    await demoted(database, (await recorded_in(database, "A"))["k"], REPLACED)
    row = (await recorded_in(database, "A"))["k"]
    async with threads_on(database) as threads:
        verification = Verification(threads, database)
        assert await verification.begin_removal(row) is not None  # and its process dies
        await change(database, "A", due_at=Now() - timedelta(seconds=1))
        assert await verification.begin_removal(row) is not None


async def test_catch_up_claims_what_verifying_found_missing(database: str) -> None:
    [wanted] = await add(database, "k")
    await demoted(database, (await recorded_in(database, "A"))["k"], MISSING)
    async with ledger_on(database) as ledger:
        claims = Claims(ledger.writer, database, under_way=ledger.under_way, claim_seconds=30)
        [due] = await claims.claim("A", ReplicaState.PENDING, 10)
        assert (due.file_id, due.object_key, due.lost) == (wanted.id, PREFIX + "k", None)
        results = Results(ledger.writer, database, settle_seconds=1)
        assert await results.found(due, stored(wanted.places[0]))
    assert (await states_in(database))["A"] == ("stored", None)
    assert (await files_in(database))["k"].state == "stored"
