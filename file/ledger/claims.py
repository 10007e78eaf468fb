"""The keys of the uploads under way, in this process.

Before there is a database of files, this is all that a ledger has to do for the flow: of two uploads to one key at
once, one goes on and the other is told that the key is taken. A finished file's key is held by S3's own condition.
"""

from file.logic.errors import KeyTakenError
from file.logic.values import Identity, Receipt


class ProcessClaims:
    """A `Ledger` for one process. Not thread-safe: it belongs to one event loop."""

    def __init__(self) -> None:
        self._claimed: set[str] = set()

    async def intend(self, file_id: str, identity: Identity) -> None:
        """Claim the key. Raises `KeyTakenError`."""
        if identity.key in self._claimed:
            raise KeyTakenError("The key is being uploaded right now.")
        self._claimed.add(identity.key)

    async def conclude(self, receipt: Receipt) -> None:
        """Give the claim back: either S3 holds the key now, or nothing does."""
        self._claimed.discard(receipt.key)
