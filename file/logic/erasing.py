"""What is told of an erasure: how far it is, account by account. Says nothing of what the file was."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureOfAccount:
    """`erased_at`: when the account was found to have nothing of the file; None: it may have. `code`: what stands in
    the way, an error's. `strangers`: versions of others under the key, which were not touched.
    """

    account: str
    bucket: str
    erased_at: datetime | None
    code: str | None = None
    strangers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """`key_hash`: keyed, so that only who knows the file's key can tell whose it is. `size` in bytes, if it was known.

    `stored_at` is None for a file that was erased while it was being received.
    """

    id: str
    key_hash: str
    size: int | None
    created_at: datetime
    stored_at: datetime | None
    erased_at: datetime | None
    accounts: tuple[ErasureOfAccount, ...]

    @property
    def is_done(self) -> bool:
        """Every account said that nothing of the file is there."""
        return self.erased_at is not None
