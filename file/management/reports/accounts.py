"""What `manage.py accounts` tells without an option: each account's state, as one object or as a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from file.ledger.accounts.accountstates import KnownAccount
from file.logic.values import Account

ACTIVE = "active"
MISSING = "missing from the environment"

_TITLES = ("account", "bucket", "region", "state", "stored", "pending", "blocked", "erasing", "last error")
_NUMBERS = ("stored",)
_NOTHING = "-"
_GAP = "  "
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (0, "s"))


@dataclass(frozen=True, slots=True)
class AccountState:
    """What the environment says of an account, if it does, and what the ledger knows of it."""

    configured: Account | None
    known: KnownAccount

    @property
    def bucket(self) -> str:
        return self.known.bucket if self.configured is None else self.configured.s3_bucket_name

    @property
    def region(self) -> str | None:
        return None if self.configured is None else self.configured.region_name

    @property
    def state(self) -> str:
        known = self.known
        if known.keeps is None:
            return ACTIVE if self.configured is not None else MISSING
        if not known.stored and not known.unfinished:
            return "retired (empty)"
        retired = "retired (keeps)" if known.keeps else "retired (draining)"
        return retired if self.configured is not None else f"{retired}, {MISSING}"


def account_states(configured: Sequence[Account], known: Mapping[str, KnownAccount]) -> list[AccountState]:
    """Those that are configured first, in their order."""
    by_name = {account.name: account for account in configured}
    names = [*by_name, *sorted(set(known) - set(by_name))]
    return [AccountState(by_name.get(name), known.get(name) or KnownAccount(name=name)) for name in names]


def as_json(states: Sequence[AccountState]) -> dict[str, Any]:
    return {"accounts": {state.known.name: _told(state) for state in states}}


def as_lines(states: Sequence[AccountState]) -> Iterator[str]:
    """A row an account."""
    rows = [_TITLES, *(_row(state) for state in states)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(_TITLES, row, widths, strict=True)
        yield _GAP.join(c.rjust(width) if title in _NUMBERS else c.ljust(width) for title, c, width in cells).rstrip()


def age(seconds: float) -> str:
    """In its largest unit, and never too much: `59 min`, `2 h`."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size)
    return f"{int(seconds // max(size, 1))} {unit}"


def _told(state: AccountState) -> dict[str, Any]:
    known = state.known
    return {
        "bucket": state.bucket,
        "region": state.region,
        "state": state.state,
        "configured": state.configured is not None,
        "retired_at": None if known.retired_at is None else known.retired_at.isoformat(),
        "stored": known.stored,
        "pending": known.pending,
        "oldest_pending_seconds": known.oldest_seconds,
        "blocked": known.blocked,
        "erasing": {code or "due": count for code, count in known.erasing.items()},
        "last_error": known.last_error,
    }


def _row(state: AccountState) -> tuple[str, ...]:
    known = state.known
    pending = str(known.pending)
    if known.oldest_seconds is not None:
        pending += f" (oldest {age(known.oldest_seconds)})"
    return (
        known.name,
        state.bucket or _NOTHING,
        state.region or _NOTHING,
        state.state,
        str(known.stored),
        pending,
        _by_code(known.blocked),
        _by_code(known.erasing),
        known.last_error or _NOTHING,
    )


def _by_code(codes: Mapping[str, int]) -> str:
    """The number, and of what."""
    if not codes:
        return "0"
    told = ", ".join(f"{code} {count}" for code, count in sorted(codes.items()) if code)
    return f"{sum(codes.values())}{f' ({told})' if told else ''}"
