"""Which accounts shall have a file, and how many of them must. Every byte's destination passes through here."""

import re
from collections.abc import Sequence

from file.logic.errors import AccountsRefusedError, AckRefusedError
from file.logic.ports import StorageAccount
from file.logic.values import Ack

_ACK = re.compile(r"all|quorum|any|[1-9][0-9]{0,3}")


def ack_of(text: str) -> Ack:
    """Raises `AckRefusedError`."""
    if not _ACK.fullmatch(text):
        raise AckRefusedError
    return Ack(text)


def place(buckets: Sequence[StorageAccount], ack: Ack, names: Sequence[str] | None = None) -> Sequence[StorageAccount]:
    """The buckets of the accounts that are named, in our order; all of them if none is.

    Raises `AccountsRefusedError`, and `AckRefusedError` if the ack wants more accounts than there are.
    """
    chosen = buckets
    if names is not None:
        known = {bucket.account.name for bucket in buckets}
        for place, name in enumerate(names, start=1):
            if name not in known:  # what was sent is not repeated: it may be anything
                raise AccountsRefusedError(
                    f"Entry {place} of the header Upload-Accounts is no account that takes new files here."
                )
        if len(set(names)) < len(names):
            raise AccountsRefusedError("The header Upload-Accounts names an account twice.")
        chosen = [bucket for bucket in buckets if bucket.account.name in names]
    if ack.needed(len(chosen)) > len(chosen):
        raise AckRefusedError(f"The ack wants {ack.needed(len(chosen))} accounts of {len(chosen)}.")
    return chosen
