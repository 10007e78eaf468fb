"""A ledger in memory for tests of the flow; `tests/contract` runs the same tests on it and on the real one."""

from file.logic.errors import (
    ConditionFailedError,
    IdempotencyKeyBusyError,
    IdempotencyKeyReusedError,
    KeyBusyError,
    KeyTakenError,
)
from file.logic.values import Intent, Pending, Receipt, Stored


class MemoryLedger:
    """`receipts`: the acknowledged files by key. `lost`: ids whose lease another process took."""

    installation = "00000000-0000-4000-8000-000000000000"

    def __init__(self) -> None:
        self.claimed: dict[str, Intent] = {}
        self.receipts: dict[str, Receipt] = {}
        self.followed: list[Stored | Pending] = []
        self.uploads: list[tuple[str, str, str | None]] = []
        self.asked: list[tuple[str, str]] = []
        self.lost: set[str] = set()
        self._intents: dict[tuple[str, str], Intent] = {}

    async def intend(self, intent: Intent) -> Receipt | None:
        if intent.idempotency_key is not None:
            earlier = self._intents.get((intent.who, intent.idempotency_key))
            if earlier is not None and earlier.key in self.claimed:
                raise IdempotencyKeyBusyError
            if earlier is not None:
                if earlier.name != intent.name or (intent.key_is_chosen and earlier.key != intent.key):
                    raise IdempotencyKeyReusedError
                return self._expected(intent, self.receipts[earlier.key])
        if intent.key in self.claimed:
            raise KeyBusyError
        if intent.key in self.receipts:
            if intent.idempotency_key is not None:
                raise KeyTakenError
            return self._expected(intent, self.receipts[intent.key])
        self._expected(intent, None)
        self.claimed[intent.key] = intent
        if intent.idempotency_key is not None:
            self._intents[intent.who, intent.idempotency_key] = intent
        return None

    def _expected(self, intent: Intent, found: Receipt | None) -> Receipt | None:
        if intent.expected_id is not None and (found is None or found.id != intent.expected_id):
            raise ConditionFailedError
        return found

    def begun(self, file_id: str, account: str, upload_id: str | None) -> None:
        self.uploads.append((file_id, account, upload_id))

    async def conclude(self, receipt: Receipt) -> bool:
        if (intent := self.claimed.pop(receipt.key, None)) is None:
            return True
        if receipt.acknowledged and receipt.id not in self.lost:
            self.receipts[receipt.key] = receipt
        elif intent.idempotency_key is not None:
            del self._intents[intent.who, intent.idempotency_key]
        return receipt.id not in self.lost

    async def may_publish(self, file_id: str, account: str) -> bool:
        self.asked.append((file_id, account))
        return file_id not in self.lost

    async def follow(self, file_id: str, outcome: Stored | Pending) -> bool:
        self.followed.append(outcome)
        return file_id not in self.lost
