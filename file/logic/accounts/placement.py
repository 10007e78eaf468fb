"""Placement: which accounts get a file, and from which ones it is read.

Promises: an account that is retired or not configured gets no files. Uploads and backfill ask here when they choose
accounts; catch-up asks before it copies a file that an upload, a verification, or a rebuild left missing; reads ask
for their sources. A retired account that is configured is still read. Leaves to others: the facts about the accounts
(`registry.py`).
"""

import re
from collections.abc import Sequence

from file.logic.accounts.registry import Registry
from file.logic.errors import AccountsRefusedError, AckRefusedError
from file.logic.ports import StorageAccount
from file.logic.values import Ack

_ACK = re.compile(r"all|quorum|any|[1-9][0-9]{0,3}")


def ack_of(text: str) -> Ack:
    """Raises `AckRefusedError`."""
    if not _ACK.fullmatch(text):
        raise AckRefusedError
    return Ack(text)


class Placement:
    """`ack`: the default for uploads. `read_order`: the accounts that are read first; others follow."""

    def __init__(self, registry: Registry, *, ack: Ack | None = None, read_order: Sequence[str] = ()) -> None:
        self.registry = registry
        self._ack = ack or Ack()
        self._read_order = {name: place for place, name in enumerate(read_order)}

    def takes(self, account: str) -> bool:
        """Whether the account with this name gets files."""
        return self.registry.account(account) is not None and account not in self.registry.retired

    def of_upload(
        self, ack: Ack | None = None, names: Sequence[str] | None = None
    ) -> tuple[Ack, Sequence[StorageAccount]]:
        """The ack of a new file, and the accounts that get it: those in `names`, in our order; or all.

        Raises `AccountsRefusedError`, and `AckRefusedError` if the ack needs more accounts than there are.
        """
        ack = ack or self._ack
        chosen = [storage for storage in self.registry.storages if self.takes(storage.account.name)]
        if names is not None:
            for place, name in enumerate(names, start=1):
                if not self.takes(name):  # the answer does not repeat the name, which may be any text
                    raise AccountsRefusedError(
                        f"Entry {place} of the header Upload-Accounts is no account that takes new files here."
                    )
            if len(set(names)) < len(names):
                raise AccountsRefusedError("The header Upload-Accounts names an account twice.")
            chosen = [storage for storage in chosen if storage.account.name in names]
        needed = ack.needed(len(chosen)) or 1  # all of none would be a success without a copy
        if needed > len(chosen):
            raise AckRefusedError(f"The ack wants {needed} accounts of {len(chosen)}.")
        return ack, chosen

    def sources(self) -> list[StorageAccount]:
        """The accounts from which a file may be read, in the order of asking."""
        last = len(self._read_order)
        return sorted(self.registry.storages, key=lambda storage: self._read_order.get(storage.account.name, last))
