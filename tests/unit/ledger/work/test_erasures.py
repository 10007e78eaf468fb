"""Erasing in the ledger: what is claimed, what is left at the end, and what a late process changes."""

from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db.models.functions import Now
from django.test import override_settings

from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.keyed import key_hashes
from file.ledger.work.claims import Due
from file.logic.values import FileState, Place, ReplicaState
from file.models import File, OpenUpload, Replica
from tests.intents import intent, stored
from tests.unit.ledger.looking import ask, change_replicas, ledger_on
from tests.unit.ledger.rows import AGO
from tests.unit.ledger.verified import states_in
from tests.unit.ledger.working import acknowledged, claims_of, erasures_of, results_of

ALL = ("A", "B", "C")


async def erased(ledger: DatabaseLedger, database: str) -> Due:
    """Erase the file `k`; returns the claim of its last replica."""
    _, claimed = await erasures_of(ledger, database).begin("k", accounts=ALL)
    assert {due.account for due in claimed} == set(ALL)
    for due in claimed:
        await results_of(ledger, database, 2).gone(due, strangers=2 if due.account == "B" else 0)
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
    """An unanswered write may land after the first look, so asking again must not make it the last look."""
    async with ledger_on(database) as ledger:
        await acknowledged(ledger, behind="C")
        await change_replicas(database, "C", owner=None)
        erasures, results = erasures_of(ledger, database), results_of(ledger, database, 2)
        _, claimed = await erasures.begin("k", accounts=ALL)
        for due in claimed:
            await results.gone(due)
        states = await states_in(database)
        assert states == {"A": ("erased", None), "B": ("erased", None), "C": ("erasing", None)}
        erasure, claimed = await erasures.begin("k", accounts=ALL)
        assert erasure is not None
        assert (erasure.is_done, claimed) == (False, ())


async def test_a_refused_account_is_tried_at_once_when_the_erasure_is_asked_for_again(database: str) -> None:
    async with ledger_on(database) as ledger:
        await acknowledged(ledger)
        await erasures_of(ledger, database).begin("k")
        refused = {"error_code": "access_refused", "last_look": False, "due_at": Now() + timedelta(hours=1)}
        await ask(database, partial(Replica.objects.using(database).update, **refused))
        _, claimed = await erasures_of(ledger, database).begin("k", accounts=ALL)
    assert len(claimed) == len(ALL)


async def test_a_file_is_erased_again_when_a_late_process_has_stored_it(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted = await acknowledged(ledger)
        due = await erased(ledger, database)
        late = stored(Place(due.account, due.bucket, due.object_key))
        assert not await results_of(ledger, database, 2).found(due, late)
        file = await ask(database, File.objects.using(database).get)
        assert (file.state, file.erased_at) == (FileState.ERASING, None)
        assert await ledger.intend(intent()) is None  # the key stays free
        replicas = Replica.objects.using(database).filter(file_id=wanted.id)
        for _ in range(2):
            await ask(database, partial(replicas.filter(state="erasing").update, due_at=AGO))
            [again] = await claims_of(ledger, database).claim(due.account, ReplicaState.ERASING, 10)
            assert again.object_key == late.object_key
            await results_of(ledger, database, 2).gone(again)
        files = File.objects.using(database).filter(pk=wanted.id)
        assert (await ask(database, files.get)).state == FileState.ERASED
        assert {row.object_key for row in await ask(database, lambda: list(replicas))} == {""}


async def test_the_first_begin_stays_noted_when_it_is_repeated(database: str) -> None:
    async with ledger_on(database) as ledger:
        await acknowledged(ledger, behind="C")
        await change_replicas(database, "C", due_at=AGO)
        claims = claims_of(ledger, database)
        [due] = await claims.claim("C", ReplicaState.PENDING, 1)
        for upload_id in (None, None, "second"):  # about to begin; the answer was lost; begun again
            await claims.note(due, upload_id)
        notes = OpenUpload.objects.using(database).values_list("upload_id", flat=True)
        assert sorted(map(str, await ask(database, lambda: list(notes)))) == ["None", "second"]


async def test_a_straggler_may_publish_until_the_file_is_erased(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted = await acknowledged(ledger, behind="C")
        assert await ledger.may_publish(wanted.id, "C")
        await erasures_of(ledger, database).begin("k")
        assert not await ledger.may_publish(wanted.id, "C")


async def test_a_straggler_may_not_publish_when_its_lease_has_run_out(database: str) -> None:
    """Its process stood still: by now another process may bring the file."""
    async with ledger_on(database) as ledger:
        wanted = await acknowledged(ledger, behind="C")
        await change_replicas(database, "C", due_at=AGO)
        assert not await ledger.may_publish(wanted.id, "C")
        assert await claims_of(ledger, database).claim("C", ReplicaState.PENDING, 1)
        assert not await ledger.may_publish(wanted.id, "C")
