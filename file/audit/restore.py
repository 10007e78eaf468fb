"""Derives from the objects of one file its row in the ledger, its accounts, and contradictions.

The sender, the requested ack, the idempotency key, the size of the parts and S3's request ids cannot be restored,
because the metadata does not contain them. Objects have a keyed hash of each account's name; those of earlier releases
have the names. Pure: no requests, no writes.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from file.audit.inventory import FoundCopy
from file.ledger.audit.rebuild import Copy, Known, RestoredFile
from file.ledger.read.queries import is_storable
from file.logic.accounts.hashes import AccountHashes
from file.logic.naming import begun_at, name_of
from file.logic.values import (
    FILE_ACCOUNT_HASHES,
    FILE_ACCOUNTS,
    FILE_HEADERS,
    FILE_NAME,
    FILE_SHA256,
    RESERVED_METADATA,
    Digests,
)

_LONGEST_ACCOUNT = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """The accounts that should have a file.

    `unknown`: the number of further accounts, without the file, whose hashes belong to no known name.
    `is_foreign`: one of its objects has only such hashes.
    """

    names: frozenset[str]
    unknown: int = 0
    is_foreign: bool = False


class WantedAccounts:
    """Finds the accounts that should have a file, among the known names."""

    def __init__(self, hashes: AccountHashes, names: Iterable[str]) -> None:
        self._hashes = hashes
        self._names = set(names)

    def know(self, names: Iterable[str]) -> None:
        """Adds names of accounts to compare with hashes."""
        self._names.update(names)

    def of(self, copies: Sequence[FoundCopy]) -> Wanted:
        """`copies` are of one file."""
        names: set[str] = set()
        unknown, is_foreign = 0, False
        carrying: dict[frozenset[str], set[str]] = {}
        for copy in copies:
            entry = copy.found.metadata.get(FILE_ACCOUNT_HASHES)
            if entry is None:
                names |= _plain(copy)
            else:
                carrying.setdefault(frozenset(entry.split(",")), set()).add(copy.account)
        known = self._hashes.names(copies[0].file_id, self._names) if carrying else {}
        for hashes, accounts in carrying.items():
            found = {known[each] for each in hashes if each in known}
            names |= found
            # Each account that has the object is one of those that it names, perhaps by a former name or another key.
            unknown = max(unknown, len(hashes - known.keys()) - len(accounts - found))
            is_foreign |= not found
        return Wanted(frozenset(names), unknown, is_foreign)


def contradiction(copies: Sequence[FoundCopy], known: Known, rivals: Collection[str]) -> tuple[str, str] | None:
    """Code and detail of the reason why a file cannot be restored.

    `rivals`: the ids of our files that were found under the file's key.
    """
    first = copies[0]
    keys = sorted({copy.key for copy in copies})
    others = set(rivals) - {first.file_id}
    # A file that the ledger has as erased, or is about to remove, is no rival.
    others -= {rival for rival in others if rival in known.files and rival not in known.holders.values()}
    others -= known.given_up
    checksums = {copy.found.crc64nvme for copy in copies} - {None}
    hashes = {_sha256(copy) for copy in copies} - {None}
    if len(keys) > 1:
        return "file_copied", f"lies under several keys: {', '.join(keys[:3])}"
    if known.holders.get(first.key, first.file_id) != first.file_id:
        return "key_taken", "has the key of another file that is in the ledger"
    if others:
        return "key_contested", f"has a key under which other files lie, too: {', '.join(sorted(others)[:3])}"
    if len({copy.found.size for copy in copies}) > 1 or len(checksums) > 1 or len(hashes) > 1:
        return "copies_differ", "has other bytes in one account than in another"
    return None


def restored(
    copies: Sequence[FoundCopy], digests: Digests, named: Collection[str], why_missing: Callable[[str], str]
) -> RestoredFile:
    """The record of a file. `named`: the accounts that should have it. `why_missing`: an error code per account."""
    first = copies[0]
    begun = begun_at(first.file_id)
    assert begun is not None  # or it would be an unknown object
    found = {copy.account for copy in copies}
    return RestoredFile(
        id=first.file_id,
        key=first.key,
        name=_name(first),
        content_type=first.found.content_type,
        content_headers=_content_headers(first),
        metadata={
            name: value for name, value in first.found.metadata.items() if not name.startswith(RESERVED_METADATA)
        },
        digests=digests,
        created_at=begun,
        copies=[copy_of(copy) for copy in copies],
        missing={account: why_missing(account) for account in sorted(set(named) - found)},
    )


def copy_of(copy: FoundCopy) -> Copy:
    return Copy(copy.found.stored, copy.found.last_modified)


def digests_in(copies: Sequence[FoundCopy]) -> tuple[bytes | None, int | None]:
    """SHA-256 and CRC64NVME of a file, if one of its objects has them."""
    sha256 = next((known for copy in copies if (known := _sha256(copy))), None)
    return sha256, next((copy.found.crc64nvme for copy in copies if copy.found.crc64nvme is not None), None)


def _sha256(copy: FoundCopy) -> bytes | None:
    """None if it was unknown when the upload began."""
    try:
        digest = bytes.fromhex(copy.found.metadata.get(FILE_SHA256, ""))
    except ValueError:
        return None
    return digest if len(digest) == 32 else None


def _content_headers(copy: FoundCopy) -> dict[str, str]:
    """The headers that were sent with the file, without those that the store added."""
    names = copy.found.metadata.get(FILE_HEADERS, "").split(",")
    return {name: value for name, value in copy.found.content_headers.items() if name in names}


def _name(copy: FoundCopy) -> str:
    """The sender's name; the last segment of the key if that cannot be read."""
    try:
        name = unquote(copy.found.metadata.get(FILE_NAME, ""), errors="strict")
    except UnicodeDecodeError:
        name = ""
    return name if name and is_storable(name) else name_of(copy.key)


def _plain(copy: FoundCopy) -> set[str]:
    """The names of accounts that earlier releases wrote."""
    names = (name.strip() for name in copy.found.metadata.get(FILE_ACCOUNTS, "").split(","))
    return {name for name in names if 0 < len(name) <= _LONGEST_ACCOUNT}
