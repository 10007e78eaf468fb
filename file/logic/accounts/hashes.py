"""How an object names the accounts of its file: by keyed hashes, so that no owner learns the names of the others.

Only `ledger rebuild` needs the names again: it hashes the names that it knows, and compares. The file's id is part of
each hash, so that objects of two files cannot be compared. The hashes are sorted, so that their order contains no
information. The number of accounts is visible. The caller derives the keys from secrets.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_HEX_DIGITS = 16  # 64 bits


@dataclass(frozen=True, slots=True)
class AccountHashes:
    """The first of the `keys` is for writing; all are for reading."""

    keys: Sequence[bytes] = field(repr=False)

    def of(self, file_id: str, names: Iterable[str]) -> str:
        """The metadata entry `FILE_ACCOUNT_HASHES`."""
        return ",".join(sorted(_hash(self.keys[0], file_id, name) for name in names))

    def names(self, file_id: str, known: Iterable[str]) -> dict[str, str]:
        """The known names by each hash that an object of the file may have for them."""
        return {_hash(key, file_id, name): name for name in known for key in self.keys}


def _hash(key: bytes, file_id: str, name: str) -> str:
    return hmac.digest(key, f"{file_id}/{name}".encode(), "sha256").hex()[:_HEX_DIGITS]
