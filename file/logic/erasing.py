"""The progress of an erasure per account. It contains nothing about the content or the name of the file."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureOfAccount:
    """`erased_at`: when the account confirmed that it has nothing of the file; None: it may have. `code`: the code of
    the error that prevents it. `strangers`: the number of versions of others under the key, which were not touched.
    """

    account: str
    bucket: str
    erased_at: datetime | None
    code: str | None = None
    strangers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """`key_hash`: keyed, so that it can be recognised only with the file's key. `size`: bytes, if known.

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
        """Whether every account confirmed that it has nothing of the file."""
        return self.erased_at is not None
