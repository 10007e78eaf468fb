"""What both ways to upload share: the headers that choose ack and accounts, the admission, the flow, the log line."""

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from starlette.datastructures import Headers

from file import metrics
from file.api.admission import Admission
from file.api.requests import Request
from file.logic.accounts.hashes import AccountHashes
from file.logic.accounts.placement import Placement, ack_of
from file.logic.errors import BusyError, IdempotencyKeyRefusedError, RequestError
from file.logic.fanout.stragglers import Stragglers
from file.logic.handleinmultipleaccounts import handle_in_multiple_accounts
from file.logic.memory.budget import Budget
from file.logic.ports import Ledger, StorageAccount
from file.logic.values import Ack, IncomingFile, Limits, Receipt

_IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,255}")


class Uploads:
    """`max_uploads` at once. One principal may have `share` of them, and of their memory."""

    def __init__(
        self,
        max_uploads: int,
        *,
        share: float,
        placement: Placement,
        limits: Limits,
        ledger: Ledger,
        hashes: AccountHashes,
    ) -> None:
        self.admission = Admission(max_uploads, share=share)
        self.budget = Budget(limits.memory, share=share)
        self.stragglers = Stragglers(ledger, limits)
        self.placement = placement
        self._flow = partial(
            handle_in_multiple_accounts,
            limits=limits,
            budget=self.budget,
            ledger=ledger,
            stragglers=self.stragglers,
            hashes=hashes,
        )

    @property
    def longest_prefix_bytes(self) -> int:
        return self.placement.registry.longest_prefix_bytes

    async def take(self, arriving: Callable[[], Awaitable[IncomingFile]], request: Request) -> Receipt:
        """Carry one upload through the flow. Raises `RequestError` and `BusyError`."""
        ack, buckets = self._chosen(request.headers)
        began, outcome = time.perf_counter(), "crashed"
        try:
            with self.admission.admitted(request.principal.name):
                receipt = await self._flow(await arriving(), buckets, ack=ack)
            outcome = "repeated" if receipt.repeated else receipt.state.value if receipt.acknowledged else "failed"
        except BusyError:
            outcome = "busy"
            raise
        except RequestError:
            outcome = "refused"
            raise
        finally:
            metrics.UPLOADS_BY_OUTCOME[outcome].inc()
            metrics.UPLOAD_SECONDS.observe(time.perf_counter() - began)
        line = request.line
        line |= {"id": receipt.id, "key": receipt.key, "acknowledged": receipt.acknowledged, "stored": receipt.stored}
        if receipt.repeated:
            line["repeated"] = True
        if receipt.digests is not None:
            line["size"] = receipt.digests.size
            if receipt.acknowledged and not receipt.repeated:
                metrics.UPLOAD_BYTES.inc(receipt.digests.size)
        return receipt

    def _chosen(self, headers: Headers) -> tuple[Ack, Sequence[StorageAccount]]:
        """The headers Upload-Ack and Upload-Accounts. Raises `AckRefusedError`, `AccountsRefusedError`."""
        ack = names = None
        if "upload-ack" in headers:
            ack = ack_of(",".join(headers.getlist("upload-ack")).strip())
        if "upload-accounts" in headers:
            names = [name.strip() for name in ",".join(headers.getlist("upload-accounts")).split(",")]
        return self.placement.of_upload(ack, names)


def idempotency_key(headers: Headers) -> str | None:
    """Raises `IdempotencyKeyRefusedError`."""
    keys = headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not _IDEMPOTENCY_KEY.fullmatch(keys[0]):
        raise IdempotencyKeyRefusedError
    return keys[0]
