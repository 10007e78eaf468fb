"""What `manage.py accounts` and its subcommands report: the state of each account, and what `add` and `retire` did."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from file.ledger.accounts.accountstates import KnownAccount
from file.ledger.accounts.backfill import Backfilled
from file.ledger.accounts.retirement import Retirement
from file.logic.values import Account
from file.management.terminal import Table

ACTIVE = "active"
MISSING = "missing from the environment"

_TITLES = ("account", "bucket", "region", "state", "stored", "pending", "blocked", "erasing", "last error")
_NOTHING = "-"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (0, "s"))


def variable(name: str) -> str:
    return f"AWS_ACCOUNT_{name}"


@dataclass(frozen=True, slots=True)
class AccountState:
    """What the environment says of an account, if it is there, and what the ledger knows of it."""

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
    """The configured accounts first, in their order."""
    by_name = {account.name: account for account in configured}
    names = [*by_name, *sorted(set(known) - set(by_name))]
    return [AccountState(by_name.get(name), known.get(name) or KnownAccount(name=name)) for name in names]


def as_json(states: Sequence[AccountState]) -> dict[str, Any]:
    return {"accounts": {state.known.name: _object(state) for state in states}}


def as_table(states: Sequence[AccountState]) -> Table:
    """One row per account."""
    return Table(_TITLES, [_row(state) for state in states], numbers=("stored",))


def age(seconds: float) -> str:
    """In its largest unit, rounded down: `59 min`, `2 h`."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size)
    return f"{int(seconds // max(size, 1))} {unit}"


def added(name: str, *, was_retired: bool, done: Backfilled | None) -> Iterator[str]:
    if was_retired:
        yield f"{name} is not retired any more."
    yield (
        f"New files go to {name} from the next start of each service on, because a service reads the environment when "
        f"it starts. A service that was started with {variable(name)} uses {name} within seconds."
    )
    if done is None:
        return
    yield f"{done.added} of {done.files} files are now pending in {name}. `manage.py accounts` shows the progress."
    if done.leaving:
        yield f"{done.leaving} files are still being removed from {name}. Run the command again after that."
    if done.under_way:
        yield f"{done.under_way} uploads that do not go to {name} are under way. Run the command again after that."


def retired(name: str, done: Retirement, *, keeps: bool, is_missing: bool) -> Iterator[str]:
    yield f"{name} is retired: no new files go there. {done.given_up} files that it lacks are not copied to it."
    if not keeps:
        yield f"{done.leaving} files are now being removed from {name}."
    if done.only_there:
        yield f"{done.only_there} files are only in {name}. Run the command again once another account has them."
    if done.replaced:
        yield f"{done.replaced} objects were replaced by others. `manage.py verify --replace` decides about them."
    if done.unfinished and is_missing:
        yield f"{done.unfinished} replicas wait until {variable(name)} is set: the service has to check the account."
    elif done.unfinished:
        yield f"{done.unfinished} replicas are not finished. The running service continues; run the command again."
    if done.under_way:
        yield f"{done.under_way} uploads to {name} are under way. Run the command again after that."
    if done.is_done:
        yield f"{name} keeps its files." if keeps else f"{name} is empty. {variable(name)} may be removed."


def _object(state: AccountState) -> dict[str, Any]:
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
    """The sum, and the number for each error code."""
    if not codes:
        return "0"
    listed = ", ".join(f"{code} {count}" for code, count in sorted(codes.items()) if code)
    return f"{sum(codes.values())}{f' ({listed})' if listed else ''}"
