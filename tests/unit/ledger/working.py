"""What works on a ledger: uploads, claims, their results, and erasures."""

from typing import Any

from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.work.claims import Claims
from file.ledger.work.erasures import Erasures
from file.ledger.work.results import Results
from file.logic.values import Intent
from tests.intents import intent, receipt


def claims_of(ledger: DatabaseLedger, database: str) -> Claims:
    """The claims of another process: it knows of no upload of this one."""
    return Claims(ledger.writer, database, under_way=(), claim_seconds=30)


def results_of(ledger: DatabaseLedger, database: str, settle_seconds: float = 0) -> Results:
    return Results(ledger.writer, database, settle_seconds=settle_seconds)


def erasures_of(ledger: DatabaseLedger, database: str) -> Erasures:
    return Erasures(ledger.writer, database, claims_of(ledger, database))


async def acknowledged(ledger: DatabaseLedger, key: str = "k", *, behind: str = "", **changes: Any) -> Intent:
    """A file that is stored everywhere except in the accounts that are `behind`."""
    wanted = intent(key, **changes)
    assert await ledger.intend(wanted) is None
    assert await ledger.conclude(receipt(wanted, behind=behind))
    return wanted
