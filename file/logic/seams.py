"""The seams between the flow and the world: a bucket, an upload in it, and the ledger.

Everything here raises `AccountError` and nothing else for what goes wrong in an account, so that the flow needs no
knowledge of S3. `tests/contract/` says what each promise means, for the memory bucket and for real servers alike.
"""

import asyncio
from datetime import datetime
from typing import Protocol

from file.logic.values import Account, Digests, Identity, ObjectDescription, Part, Receipt, Stored


class Upload(Protocol):
    """One open multipart upload. Nothing of it is visible before `complete`."""

    async def send(self, part: Part) -> None:
        """Send one part; parts may go at once and in any order. Sending the same part again is harmless."""

    async def complete(self, digests: Digests) -> Stored:
        """Publish: S3 joins the parts and checks size and checksum of the whole. A lost answer is found again."""

    async def abort(self) -> None:
        """Give it up. Returns when S3 no longer knows it; one that is completed or gone already is no error."""


class Bucket(Protocol):
    """One account's bucket. `slots` bounds the writes under way in it; the lane takes one before each."""

    account: Account
    slots: asyncio.Semaphore

    async def put(self, description: ObjectDescription, part: Part) -> Stored:
        """Store a file that fits one part. Never overwrites; a lost answer is found again by the file's id."""

    async def begin(self, description: ObjectDescription) -> Upload:
        """Open a multipart upload. Refuses early (`KeyOccupiedError`) if the key has an object."""

    async def remove(self, description: ObjectDescription) -> None:
        """Leave no object and no version under the key that carries this file's id; others are not touched.

        Returning means that S3 was asked and said so; raises `AccountError` when it cannot be ruled out.
        """

    async def abort_lost(self, description: ObjectDescription, *, since: datetime) -> None:
        """Abort the uploads under exactly this key begun at or after `since`: a `begin` of ours went unanswered."""


class Ledger(Protocol):
    """The record of files. A key belongs to one file as long as it lives."""

    async def intend(self, file_id: str, identity: Identity) -> None:
        """Claim the key, before the first byte leaves. Raises `KeyTakenError`."""

    async def conclude(self, receipt: Receipt) -> None:
        """Record the outcome, before the answer. The key is free again unless the receipt says `stored`."""
