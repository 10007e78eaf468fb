"""What the writer does with a group: claims first, then outcomes, in one transaction.

An outcome is a compare-and-swap on state and owner. If it does not match, the lease was lost, unless the row shows that
the same outcome was written before and the answer to that commit was lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from django.db import connections
from django.db.models.functions import Now

from file.ledger import states
from file.ledger.commit.sqlite import OneStatement
from file.ledger.commit.statements import Statements, file_row, hexadecimal, outcome_row, pending_rows, stored_rows
from file.logic.naming import begun_at
from file.logic.values import Failed, FileState, Intent, Pending, Receipt, Removal, ReplicaState, Stored
from file.models import File, OpenUpload, Replica


@dataclass(frozen=True, slots=True)
class Noted:
    """A multipart upload of a file in one account."""

    file_id: str
    account: str
    upload_id: str | None


@dataclass(frozen=True, slots=True)
class Followed:
    """The outcome of an account whose lane continued after the answer."""

    file_id: str
    outcome: Stored | Pending


@dataclass(frozen=True, slots=True)
class MayPublish:
    """Whether an account whose lane continues after the answer may still publish."""

    file_id: str
    account: str


Asked = Intent | Noted | Receipt | Followed | MayPublish


class Outcomes:
    """Runs in the thread of the writer. `multipart`: files with recorded uploads; the event loop adds to it."""

    def __init__(self, alias: str, owner: str, *, lease_seconds: float, settle_seconds: float) -> None:
        self.multipart: set[str] = set()
        self._alias = alias
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._settle = timedelta(seconds=settle_seconds)

    def at_once(self, asked: Sequence[Asked]) -> Sequence[bool] | None:
        """The usual group in one statement: claims, and small files that every account has."""
        claims = [entry for entry in asked if isinstance(entry, Intent)]
        receipts = [entry for entry in asked if isinstance(entry, Receipt)]
        usual = all(receipt.stored and receipt.id not in self.multipart for receipt in receipts)
        if not (usual and len(claims) + len(receipts) == len(asked) and self._one_statement.applies):
            return None
        stored = [row for receipt in receipts for row in stored_rows(receipt)]
        outcomes = [outcome_row(receipt) for receipt in receipts]
        rows = [file_row(intent) for intent in claims]
        done = self._one_statement.write(claims=rows, stored=stored, outcomes=outcomes)
        return [True] * len(asked) if done else None

    def __call__(self, asked: Sequence[Asked]) -> Sequence[bool]:
        """Whether each is true now: the key is claimed, the outcome is recorded, the account should have the file."""
        claims = [entry for entry in asked if isinstance(entry, Intent)]
        receipts = [entry for entry in asked if isinstance(entry, Receipt)]
        done = self._claim(claims) if claims else set()
        if notes := [entry for entry in asked if isinstance(entry, Noted)]:
            self._note(notes)
        if acknowledged := [receipt for receipt in receipts if receipt.acknowledged]:
            done |= self._conclude(acknowledged)
        failed = [receipt for receipt in receipts if not receipt.acknowledged]
        if gone := [receipt.id for receipt in failed if not _doubtful(receipt)]:
            self._statements.remove([hexadecimal(file_id) for file_id in gone])
        for receipt in failed:
            if _doubtful(receipt):
                self._give_up(receipt)
        done |= {receipt.id for receipt in failed}
        return [self._is_done(entry, done) for entry in asked]

    def remove(self, ids: Sequence[str]) -> None:
        """Deletes files that are no longer wanted, and that are still ours and being received."""
        self._statements.remove([hexadecimal(file_id) for file_id in ids])

    def _is_done(self, entry: Asked, done: set[str]) -> bool:
        if isinstance(entry, Followed):
            return self._follow(entry)
        if isinstance(entry, MayPublish):
            return self._may_publish(entry)
        return isinstance(entry, Noted) or entry.id in done

    def _note(self, notes: Sequence[Noted]) -> None:
        """Records uploads of files that are ours, also if the clean-up has taken them over: it needs the ids."""
        files = File.objects.using(self._alias).filter(pk__in={note.file_id for note in notes}, owner=self._owner)
        ours = {str(pk) for pk in files.values_list("pk", flat=True)}
        OpenUpload.objects.using(self._alias).bulk_create(
            OpenUpload(file_id=note.file_id, account=note.account, upload_id=note.upload_id, created_at=Now())
            for note in notes
            if note.file_id in ours
        )

    def _may_publish(self, asked: MayPublish) -> bool:
        """The lease is renewed unless this process stopped for a time. Then another worker may have the replica."""
        replicas = Replica.objects.using(self._alias).filter(file_id=asked.file_id, account=asked.account)
        return replicas.filter(states.HELD, state=ReplicaState.PENDING, owner=self._owner).exists()

    def _follow(self, followed: Followed) -> bool:
        """A replica that was pending. False: the file is erased there, and what was stored must be removed."""
        outcome = followed.outcome
        replicas = Replica.objects.using(self._alias).filter(file_id=followed.file_id, account=outcome.account)
        ours = replicas.filter(owner=self._owner)
        lease = timedelta(seconds=self._lease_seconds)
        if isinstance(outcome, Stored):
            if states.store(replicas, outcome):
                states.complete(self._alias, followed.file_id, outcome.account)
            states.reopen(self._alias, followed.file_id, outcome.account, outcome.object_key, lease)
        else:
            pending = ours.filter(state=ReplicaState.PENDING)
            states.clear_begun(pending)  # the lane has aborted what it began, or noted it
            if outcome.retryable:
                states.put_off(pending, outcome.code, self._settle, request_id=outcome.request_id)
            else:
                states.refuse(pending, outcome.code, request_id=outcome.request_id)
        states.hold(ours.filter(state=ReplicaState.ERASING), lease)  # time to remove what was stored
        return replicas.exclude(state__in=(ReplicaState.ERASING, ReplicaState.ERASED)).exists()

    @cached_property
    def _statements(self) -> Statements:
        """The statements on the writer's connection."""
        return Statements(connections[self._alias], self._owner, self._lease_seconds)

    @cached_property
    def _one_statement(self) -> OneStatement:
        return OneStatement(self._alias, self._owner, self._lease_seconds)

    def _claim(self, intents: Sequence[Intent]) -> set[str]:
        # Always in the same order: otherwise two processes could wait for each other.
        rows = [file_row(intent) for intent in sorted(intents, key=lambda intent: intent.key)]
        return self._named(intents, self._statements.claim(rows), FileState.RECEIVING)

    def _conclude(self, receipts: Sequence[Receipt]) -> set[str]:
        swapped = self._statements.conclude([outcome_row(receipt) for receipt in receipts])
        ours = [receipt for receipt in receipts if hexadecimal(receipt.id) in swapped]
        self._statements.add_stored([row for receipt in ours for row in stored_rows(receipt)])
        self._statements.add_pending([row for receipt in ours for row in pending_rows(receipt)])
        for receipt in ours:
            if receipt.id in self.multipart:
                done = [outcome.account for outcome in receipt.outcomes if isinstance(outcome, Stored)]
                states.closed_uploads(self._alias, receipt.id).filter(account__in=done).delete()
        return self._named(receipts, swapped, FileState.STORED, FileState.PARTIAL)

    def _named(self, entries: Sequence[Intent | Receipt], won: set[str], *lasting: FileState) -> set[str]:
        """The ids that succeeded, and those whose row shows that they succeeded before."""
        done = {entry.id for entry in entries if hexadecimal(entry.id) in won}
        if lost := [entry.id for entry in entries if entry.id not in done]:
            rows = File.objects.using(self._alias).filter(pk__in=lost, owner=self._owner, state__in=lasting)
            done |= {str(pk) for pk in rows.values_list("pk", flat=True)}
        return done

    def _give_up(self, receipt: Receipt) -> None:
        """Objects may be left: the key stays taken until the clean-up has confirmed that nothing is left.

        If an object can only arrive late, the key is free: the next file wins, because writes are conditional.
        """
        files, left = File.objects.using(self._alias), _doubtful(receipt)
        lost = OpenUpload.objects.using(self._alias).filter(file_id=receipt.id, upload_id=None).exists()
        holds = lost or any(outcome.removal is Removal.PENDING or not outcome.fenced for outcome in left)
        ours = files.filter(pk=receipt.id, owner=self._owner)
        if not states.give_up(ours, holds_key=holds) and not files.filter(pk=receipt.id).exists():
            files.create(**_afterwards(receipt))
        states.reopen_file(files.filter(pk=receipt.id))
        for outcome in left:
            states.leave(self._alias, receipt.id, outcome, self._settle)
        uploads = OpenUpload.objects.using(self._alias).filter(file_id=receipt.id)
        uploads.exclude(account__in=[outcome.account for outcome in left]).delete()


def _afterwards(receipt: Receipt) -> dict[str, object]:
    """A new row for a file whose row the clean-up deleted, because it found nothing, before its process continued.

    It does not hold its key, which another file may have by now.
    """
    return {
        "id": receipt.id,
        "key": receipt.key,
        "name": receipt.name,
        "content_type": receipt.content_type,
        "part_size": 0,
        "ack": "",
        "who": "",
        "created_at": begun_at(receipt.id),
        **states.FOUND_LATE,
    }


def _doubtful(receipt: Receipt) -> list[Failed]:
    """Whether objects may be left there, or may still arrive."""
    failed = [outcome for outcome in receipt.outcomes if isinstance(outcome, Failed)]
    return [outcome for outcome in failed if outcome.removal is Removal.PENDING or outcome.unanswered]
