"""What both upload ways share: the gate, the flow and the log line.

Built once, by the composition root; the endpoints find it as `request.app.uploads`.
"""

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request

from file.api.access import Access
from file.api.gate import Gate
from file.logic.budget import Budget
from file.logic.handleinmultipleaccounts import handle_in_multiple_accounts
from file.logic.placement import place
from file.logic.seams import Bucket, Ledger
from file.logic.values import IncomingFile, Limits, Receipt


class Uploads:
    """`buckets` are filled in when the service starts, in the event loop that they belong to."""

    def __init__(self, *, access: Access, gate: Gate, limits: Limits, ledger: Ledger) -> None:
        self.access = access
        self.gate = gate
        self.buckets: Sequence[Bucket] = ()
        self._limits = limits
        self._ledger = ledger
        self.budget = Budget(limits.memory)

    @property
    def longest_prefix_bytes(self) -> int:
        return max((len(bucket.account.prefix.encode()) for bucket in self.buckets), default=0)

    async def take(self, arriving: Callable[[], Awaitable[IncomingFile]], request: Request, who: str) -> Receipt:
        """Carry one upload through the flow. Raises `RequestError` and `BusyError`."""
        line = request.scope["mentum.line"]
        line["who"] = who

        async def upload() -> Receipt:
            return await handle_in_multiple_accounts(
                await arriving(), place(self.buckets), limits=self._limits, budget=self.budget, ledger=self._ledger
            )

        receipt = await self.gate.run(upload())
        line |= {"id": receipt.id, "key": receipt.key, "stored": receipt.stored}
        if receipt.digests is not None:
            line["size"] = receipt.digests.size
        return receipt
