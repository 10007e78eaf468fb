"""A change under conditions (RFC 9110, 13): a file is stored or erased only if the key has what the client says.

Promises: the conditions are compared with the acknowledged file under the key before the first byte of the body is
read and before anything is claimed; and what was compared is what is touched: the ledger is told the file's id, and a
request that loses the key to another upload is compared once more, with the file that won.
Leaves to others: what the headers mean (`conditions.py`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from starlette.datastructures import Headers

from file.api.headers.conditions import check_change, has_conditions, validators_of
from file.logic.errors import ConditionFailedError, FileNotFoundHereError, KeyBusyError, KeyTakenError
from file.logic.values import IncomingFile, Receipt

Arriving = Callable[[], Awaitable[IncomingFile]]


class Records(Protocol):
    """What the ledger tells of a key."""

    async def file(self, key: str) -> Receipt | None:
        """The acknowledged file that has it. Raises `LedgerUnavailableError`."""


async def stored_under_conditions(
    file: IncomingFile,
    key: str,
    take: Callable[[Arriving], Awaitable[Receipt]],
    headers: Headers,
    records: Records,
) -> Receipt:
    """Have the upload taken, if the conditions of its request allow it. Raises `ConditionFailedError`.

    A request that is repeated with its Idempotency-Key gets the first answer: the condition now meets its own file.
    """

    async def allowed() -> IncomingFile:
        if not has_conditions(headers):
            return file
        live = await records.file(key)
        try:
            check(headers, live)
        except ConditionFailedError:
            if live is None or file.idempotency_key is None:
                raise
            return replace(file, expected_id=live.id)
        return replace(file, expected_id=live.id) if live is not None and "if-match" in headers else file

    try:
        receipt = await take(allowed)
    except KeyBusyError:
        raise  # it is not known yet what the key will have
    except KeyTakenError:
        if has_conditions(headers):
            check(headers, await records.file(key))
        raise
    if receipt.repeated and file.idempotency_key is None:
        check(headers, receipt)
    return receipt


async def file_to_erase(key: str, headers: Headers, records: Records) -> str | None:
    """The id of the only file that may be erased; None if the request has no conditions.

    Raises `ConditionFailedError`, `FileNotFoundHereError`.
    """
    if not has_conditions(headers):
        return None
    live = await records.file(key)
    check(headers, live)
    if live is None:
        raise FileNotFoundHereError
    return live.id


def check(headers: Headers, live: Receipt | None) -> None:
    """Against the file that has the key, or None if none has it. Raises `ConditionFailedError`."""
    check_change(headers, None if live is None else validators_of(live))
