"""How an object names the accounts of its file: by a keyed hash each, so that no owner learns of the others.

Only `ledger rebuild` needs the names again: it hashes those that it knows, and compares. The file's id goes into each
hash, so that objects of two files do not show that they went to the same accounts. The hashes are sorted, so that their
order says nothing. What still shows is how many accounts there are. The keys are derived from secrets by the caller.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_HEX_DIGITS = 16  # 64 bits


@dataclass(frozen=True, slots=True)
class AccountHashes:
    """The first of the `keys` writes; all of them read."""

    keys: Sequence[bytes] = field(repr=False)

    def of(self, file_id: str, names: Iterable[str]) -> str:
        """The metadata entry `FILE_ACCOUNT_HASHES`."""
        return ",".join(sorted(_hash(self.keys[0], file_id, name) for name in names))

    def names(self, file_id: str, known: Iterable[str]) -> dict[str, str]:
        """The names that are known, each by the hashes that may stand for it in an object of the file."""
        return {_hash(key, file_id, name): name for name in known for key in self.keys}


def _hash(key: bytes, file_id: str, name: str) -> str:
    return hmac.digest(key, f"{file_id}/{name}".encode(), "sha256").hex()[:_HEX_DIGITS]
