"""Erasing, as the ledger sees it: what is claimed when, what is left at the end, and who wakes up too late."""

from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db.models.functions import Now
from django.test import override_settings

from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.keyed import key_hashes
from file.ledger.work.claims import Claims, Due
from file.ledger.work.results import Results
from file.logic.values import FileState, Intent, ReplicaState, Stored
from file.models import File, OpenUpload, Replica
from tests.intents import intent, receipt, stored
from tests.unit.ledger.looking import ask, erasures_of, ledger_on, replicas_in

ALL = ("A", "B", "C")
AGO = Now() - timedelta(seconds=1)


async def acknowledged(ledger: DatabaseLedger, behind: str = "", **changes: str) -> Intent:
    wanted = intent(**changes)
    assert await ledger.intend(wanted) is None
    assert await ledger.conclude(receipt(wanted, behind=behind))
    return wanted


def results_of(ledger: DatabaseLedger, database: str) -> Results:
    return Results(ledger.writer, database, settle_seconds=2)


async def erased(ledger: DatabaseLedger, database: str) -> Due:
    """The last replica's claim, after everything of the file `k` is gone."""
    _, claimed = await erasures_of(ledger, database).begin("k", accounts=ALL)
    assert {due.account for due in claimed} == set(ALL)
    for due in claimed:
        await results_of(ledger, database).gone(due, strangers=2 if due.account == "B" else 0)
    return claimed[-1]


async def test_only_figures_are_left_when_a_file_was_erased(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted = await acknowledged(ledger, idempotency_key="once")
        await erased(ledger, database)
        erasure, claimed = await erasures_of(ledger, database).begin("k", accounts=ALL)
    assert erasure is not None
    assert (erasure.id, erasure.is_done, claimed) == (wanted.id, True, ())
    assert [account.strangers for account in erasure.accounts] == [0, 2, 0]
    file = await ask(database, File.objects.using(database).get)
    assert (file.state, file.live, file.key_hash, file.size) == (FileState.ERASED, False, key_hashes("k")[0], 3)
    forgotten = (file.key, file.name, file.who, file.content_type, file.metadata, file.wanted)
    assert forgotten == ("", "", "", "", {}, {})
    assert (file.sha256, file.crc64nvme, file.idempotency_key, file.content_headers) == (None, None, None, None)
    replicas = await ask(database, lambda: list(Replica.objects.using(database).all()))
    assert {(r.state, r.object_key, r.etag, r.version_id, r.request_id) for r in replicas} == {
        (ReplicaState.ERASED, "", None, None, None)
    }


async def test_an_erased_file_is_found_by_its_key_when_the_secret_key_was_replaced(sqlite_database: str) -> None:
    async with ledger_on(sqlite_database) as ledger:
        wanted = await acknowledged(ledger)
        await erased(ledger, sqlite_database)
        erasures, former = erasures_of(ledger, sqlite_database), settings.SECRET_KEY
        with override_settings(SECRET_KEY="another one", SECRET_KEY_FALLBACKS=["yet another one", former]):
            erasure, _ = await erasures.begin("k")
            assert (erasure is not None, await erasures.begin("other")) == (True, (None, ()))
        with override_settings(SECRET_KEY="another one"):
            assert await erasures.begin("k") == (None, ())
    assert erasure is not None
    assert erasure.id == wanted.id


async def test_the_time_between_two_looks_is_kept_when_the_erasure_is_asked_for_again(database: str) -> None:
    """What goes unanswered may land after the first look: asking again must not make it the last one."""
    async with ledger_on(database) as ledger:
        await acknowledged(ledger, behind="C")
        await ask(database, partial(Replica.objects.using(database).filter(account="C").update, owner=None))
        erasures, results = erasures_of(ledger, database), results_of(ledger, database)
        _, claimed = await erasures.begin("k", accounts=ALL)
        for due in claimed:
            await results.gone(due)
        states = {name: replica.state for name, replica in (await replicas_in(database)).items()}
        assert states == {"A": ReplicaState.ERASED, "B": ReplicaState.ERASED, "C": ReplicaState.ERASING}
        erasure, claimed = await erasures.begin("k", accounts=ALL)
        assert erasure is not None
        assert not erasure.is_done
        assert not claimed


async def test_what_refused_is_tried_at_once_when_the_erasure_is_asked_for_again(database: str) -> None:
    async with ledger_on(database) as ledger:
        await acknowledged(ledger)
        await erasures_of(ledger, database).begin("k")
        await ask(
            database,
            partial(
                Replica.objects.using(database).update,
                error_code="access_refused",
                last_look=False,
                due_at=Now() + timedelta(hours=1),
            ),
        )
        _, claimed = await erasures_of(ledger, database).begin("k", accounts=ALL)
    assert len(claimed) == len(ALL)


async def test_it_is_erased_again_when_somebody_woke_up_and_stored_it(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted = await acknowledged(ledger)
        due = await erased(ledger, database)
        [place] = [place for place in wanted.places if place.account == due.account]
        late: Stored = stored(place)
        assert not await results_of(ledger, database).found(due, late)
        file = await ask(database, File.objects.using(database).get)
        assert (file.state, file.erased_at) == (FileState.ERASING, None)
        assert await ledger.intend(intent()) is None  # the key stays free
        await ask(database, partial(Replica.objects.using(database).filter(state="erasing").update, due_at=AGO))
        claims = Claims(ledger.writer, database, under_way=(), claim_seconds=30)
        for _ in range(2):
            [again] = await claims.claim(due.account, ReplicaState.ERASING, 10)
            assert again.object_key == late.object_key
            await results_of(ledger, database).gone(again)
            erasing = Replica.objects.using(database).filter(state="erasing")
            await ask(database, partial(erasing.update, due_at=AGO))
        files = File.objects.using(database).filter(pk=wanted.id)
        assert (await ask(database, files.get)).state == FileState.ERASED
        keys = Replica.objects.using(database).filter(file_id=wanted.id).values_list("object_key", flat=True)
        assert set(await ask(database, lambda: list(keys))) == {""}


async def test_a_begin_that_is_repeated_leaves_a_note_of_the_first(database: str) -> None:
    async with ledger_on(database) as ledger:
        await acknowledged(ledger, behind="C")
        await ask(database, partial(Replica.objects.using(database).filter(account="C").update, due_at=AGO))
        claims = Claims(ledger.writer, database, under_way=(), claim_seconds=30)
        [due] = await claims.claim("C", ReplicaState.PENDING, 1)
        for upload_id in (None, None, "second"):  # about to begin; the answer was lost; begun again
            await claims.note(due, upload_id)
        notes = OpenUpload.objects.using(database).values_list("upload_id", flat=True)
        assert sorted(map(str, await ask(database, lambda: list(notes)))) == ["None", "second"]


async def test_an_account_that_goes_on_may_publish_until_the_file_is_to_be_erased(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted = await acknowledged(ledger, behind="C")
        assert await ledger.may_publish(wanted.id, "C")
        await erasures_of(ledger, database).begin("k")
        assert not await ledger.may_publish(wanted.id, "C")


async def test_an_account_that_goes_on_may_not_publish_when_its_lease_has_run_out(database: str) -> None:
    """Its process stood still: by now somebody else may bring the file."""
    async with ledger_on(database) as ledger:
        wanted = await acknowledged(ledger, behind="C")
        replicas = Replica.objects.using(database).filter(account="C")
        await ask(database, partial(replicas.update, due_at=AGO))
        assert not await ledger.may_publish(wanted.id, "C")
        claims = Claims(ledger.writer, database, under_way=ledger.under_way, claim_seconds=30)
        assert await claims.claim("C", ReplicaState.PENDING, 1)
        assert not await ledger.may_publish(wanted.id, "C")
