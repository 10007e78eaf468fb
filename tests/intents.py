"""Small intents and receipts for the ledger's tests, as the flow makes them."""

import dataclasses
from typing import Any

from file.logic.errors import AccountUnreachableError
from file.logic.naming import new_file_id
from file.logic.values import Digests, Failed, Intent, Outcome, Pending, Place, Receipt, Removal, Stored

ACCOUNTS = ("A", "B", "C")
PREFIX = "of/ours/"
SHA256 = bytes(range(32))


def intent(key: str = "k", **changes: Any) -> Intent:
    """A file under `key` for three accounts."""
    defaults: dict[str, Any] = {
        "id": new_file_id(),
        "key": key,
        "key_is_chosen": False,
        "name": "name.txt",
        "content_type": "text/plain",
        "metadata": {"colour": "blue"},
        "content_headers": {"content-encoding": "gzip", "content-disposition": 'inline; filename="a.txt"'},
        "size": 3,
        "sha256": SHA256,
        "part_size": None,
        "ack": "all",
        "places": tuple(Place(name, f"bucket-{name.lower()}", PREFIX + key) for name in ACCOUNTS),
        "who": "tests",
        "idempotency_key": None,
    }
    return Intent(**{**defaults, **changes})


def stored(place: Place, **changes: Any) -> Stored:
    names = {"etag": '"etag"', "version_id": "v1", "request_id": "request"}
    return Stored(**{**dataclasses.asdict(place), **names, **changes})


def pending(place: Place, **changes: Any) -> Pending:
    return Pending(**dataclasses.asdict(place), **changes)


def failed(place: Place, removal: Removal = Removal.REMOVED, **changes: Any) -> Failed:
    error = AccountUnreachableError(place.account, "put")
    return Failed(**dataclasses.asdict(place), error=error, removal=removal, **changes)


def receipt(of: Intent, *, behind: str = "", gone: str = "", left: str = "") -> Receipt:
    """The outcomes: stored, except in the accounts that are `behind`; or removed, except where it is `left`."""
    outcomes: list[Outcome] = []
    for place in of.places:
        if gone or left:
            outcomes.append(failed(place, Removal.PENDING if place.account in left else Removal.REMOVED))
        elif place.account in behind:
            outcomes.append(pending(place))
        else:
            outcomes.append(stored(place))
    return Receipt(
        id=of.id,
        key=of.key,
        name=of.name,
        content_type=of.content_type,
        digests=Digests(3, SHA256, 7),
        outcomes=tuple(outcomes),
        metadata=of.metadata,
        content_headers=of.content_headers,
    )
