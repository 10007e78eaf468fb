"""How an object names the accounts of its file: by keyed hashes, so that no owner learns the names of the others.

Only `ledger rebuild` needs the names again: it hashes the names that it knows, and compares. The file's id is part of
each hash, so that objects of two files cannot be compared. The hashes are sorted, so that their order contains no
information. The number of accounts is visible. The caller derives the keys from secrets.
"""

import hmac
from collections.abc import Iterable, Sequence

_HEX_DIGITS = 16  # 64 bits


class AccountHashes:
    """The first of the `keys` is for writing; all are for reading."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.keys = tuple(keys)
        # Copies of a keyed hash are cheaper than `hmac.digest`, which lets another thread have the interpreter.
        self._keyed = [hmac.new(key, digestmod="sha256") for key in keys]

    def of(self, file_id: str, names: Iterable[str]) -> str:
        """The metadata entry `FILE_ACCOUNT_HASHES`."""
        return ",".join(sorted(_hash(self._keyed[0], file_id, name) for name in names))

    def names(self, file_id: str, known: Iterable[str]) -> dict[str, str]:
        """The known names by each hash that an object of the file may have for them."""
        return {_hash(keyed, file_id, name): name for name in known for keyed in self._keyed}


def _hash(keyed: hmac.HMAC, file_id: str, name: str) -> str:
    found = keyed.copy()
    found.update(f"{file_id}/{name}".encode())
    return found.hexdigest()[:_HEX_DIGITS]
