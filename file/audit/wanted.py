"""Which accounts shall have a file, by what its objects say: for whoever restores the ledger.

Objects carry a keyed hash of each account's name; those of earlier releases carry the names themselves. Pure: neither
asks nor writes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from file.audit.inventory import Sighting
from file.logic.accounts.hashes import AccountHashes
from file.logic.values import FILE_ACCOUNT_HASHES, FILE_ACCOUNTS

LONGEST_ACCOUNT = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """`unknown`: how many accounts besides lack the file and are named by hashes that stand for no name that is known.

    `is_foreign`: an object of it has no other hashes.
    """

    names: frozenset[str]
    unknown: int = 0
    is_foreign: bool = False


class WantedAccounts:
    """Of files, as long as it knows the names that hashes may stand for."""

    def __init__(self, hashes: AccountHashes) -> None:
        self._hashes = hashes
        self._names: set[str] = set()

    def know(self, names: Iterable[str]) -> None:
        """Of accounts: hashes may stand for them, too."""
        self._names.update(names)

    def of(self, file: Sequence[Sighting]) -> Wanted:
        """`file`: the sightings of one."""
        names: set[str] = set()
        unknown, is_foreign = 0, False
        carrying: dict[frozenset[str], set[str]] = {}
        for sighting in file:
            entry = sighting.found.metadata.get(FILE_ACCOUNT_HASHES)
            if entry is None:
                names |= _plain(sighting)
            else:
                carrying.setdefault(frozenset(entry.split(",")), set()).add(sighting.account)
        known = self._hashes.names(file[0].file_id, self._names) if carrying else {}
        for hashes, accounts in carrying.items():
            told = {known[each] for each in hashes if each in known}
            names |= told
            # Each account that has the object is one of those that it names, perhaps by a former name or another key.
            unknown = max(unknown, len(hashes - known.keys()) - len(accounts - told))
            is_foreign |= not told
        return Wanted(frozenset(names), unknown, is_foreign)


def _plain(sighting: Sighting) -> set[str]:
    """As earlier releases wrote them."""
    names = (name.strip() for name in sighting.found.metadata.get(FILE_ACCOUNTS, "").split(","))
    return {name for name in names if 0 < len(name) <= LONGEST_ACCOUNT}
