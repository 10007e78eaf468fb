"""What one upload leaves in one account, and its removal: a multipart upload, an object, or what may be one of them.

Promises: `roll_back` never raises, whatever the account answers. A request without an answer may take effect later;
then the account is asked twice. Leaves to others: whether an upload is rolled back (the flow), and the removal of what
could not be removed at once (the clean-up).
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from file.logic.errors import AccountError, OwnershipUnknownError
from file.logic.fanout.retries import Attempts, may_have_happened
from file.logic.ports import StorageAccount, Upload
from file.logic.values import Limits, ObjectDescription, Removal, Stored

_log = structlog.get_logger()


class Rollback:
    """`calls`: the requests of this upload to the account. `begun` is called with the account and the id of every
    multipart upload that is opened (None: one may be open whose id is unknown).
    """

    def __init__(
        self,
        bucket: StorageAccount,
        description: ObjectDescription,
        limits: Limits,
        calls: Attempts,
        begun: Callable[[str, str | None], object],
    ) -> None:
        self.upload: Upload | None = None
        self.error: AccountError | None = None  # why an object that may be ours was not removed
        self._bucket = bucket
        self._description = description
        self._object_key = bucket.account.prefix + description.key
        self._limits = limits
        self._calls = calls
        self._note_begun = begun
        self._begun_after: datetime | None = None
        self._lost_begin = False

    async def begin(self) -> Upload:
        self._begun_after = datetime.now(UTC)
        self.upload = await self._calls.store("begin", self._begin, self._limits.stall_seconds)
        self._calls.left_traces = True
        self._note_begun(self._bucket.account.name, self.upload.id)
        return self.upload

    async def _begin(self) -> Upload:
        try:
            return await self._bucket.begin(self._description)
        except BaseException as error:
            # Cancelled, or an error after which the upload may be open all the same.
            if not isinstance(error, AccountError) or may_have_happened(error):
                self._lost_begin = True
                self._note_begun(self._bucket.account.name, None)
            raise

    async def tidy_up(self) -> None:
        """Aborts an upload with an unknown id: a begin without an answer, which was repeated, may have left one."""
        try:
            async with asyncio.timeout(self._limits.remove_seconds):
                await self._abort_lost()
        except (AccountError, TimeoutError) as error:
            name, key = self._bucket.account.name, self._description.key
            _log.warning("upload_left_open", account=name, key=key, error=repr(error))

    async def roll_back(self, stored: Stored | None, *, keeps_object: bool = False) -> Removal:
        """Removes everything. `stored`: the object, as far as it is known. `keeps_object`: only the uploads."""

        async def remove() -> None:
            if self.upload is not None:
                await self.upload.abort()
            await self._abort_lost()
            if not keeps_object:
                known = (stored.version_id, stored.etag) if stored else ()
                await self._bucket.remove(self._object_key, self._description.file_id, *known)

        if not self._calls.left_traces:
            return Removal.REMOVED
        try:
            await self._calls.remove(remove)
            if self._calls.unanswered:
                await asyncio.sleep(self._limits.settle_seconds)
                await self._calls.remove(remove)
        except AccountError as error:
            _log.warning("removal_pending", account=error.account, detail=error.detail, s3_code=error.s3_code)
            if isinstance(error, OwnershipUnknownError):
                self.error = error
            return Removal.PENDING
        except Exception:  # noqa: BLE001 - an unexpected answer of one account must not hide the outcomes of the others
            _log.exception("removal_crashed", account=self._bucket.account.name, key=self._description.key)
            return Removal.PENDING
        return Removal.REMOVED

    async def _abort_lost(self) -> None:
        if self._lost_begin and self._begun_after is not None:
            await self._bucket.abort_lost(self._object_key, since=self._begun_after, until=datetime.now(UTC))
