"""What `manage.py accounts --check` does and reports: it checks all accounts at once.

If Ctrl-C or SIGTERM interrupts it, it waits until the test objects are removed from each account. Leaves to others:
what is asked of an account (`file/accounts/checkup/checkup.py`).
"""

import asyncio
import dataclasses
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

from django.conf import settings

from file.accounts.checkup.checks import CHECKS
from file.accounts.checkup.checkup import CheckUp
from file.accounts.checkup.diagnosis import CheckState, as_json_lines
from file.logic.values import Account
from file.management.terminal import Table
from file.service.accounts import s3_connector

_SIGNS = {CheckState.OK: "✓", CheckState.WARNED: "!", CheckState.FAILED: "✗", CheckState.NOT_ASKED: "-"}
_VERSIONS = {True: "yes", False: "no", None: "-"}
_VERSIONED = "(keeps versions)"

Progress = Callable[[Sequence[CheckUp]], None]


def check_accounts(accounts: Sequence[Account], progress: Progress) -> tuple[Sequence[CheckUp], bool]:
    """The check-ups, and whether they came to their end. `progress` is called after each check."""
    checkups: list[CheckUp] = []
    try:
        asyncio.run(_checked(accounts, checkups, progress))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return checkups, False
    return checkups, True


def is_whole(checkups: Sequence[CheckUp]) -> bool:
    """Each check was done in each account, none failed, and no test object is left."""
    return all(
        len(checkup.results) == len(CHECKS)
        and not checkup.interrupted
        and not checkup.left
        and all(result.state is not CheckState.FAILED for result in checkup.results)
        for checkup in checkups
    )


def progress(checkups: Sequence[CheckUp]) -> tuple[str, float]:
    """A text, and the part of all checks that is done."""
    done = [len(checkup.results) for checkup in checkups]
    text = "  ".join(
        f"{checkup.account.name} {count}/{len(CHECKS)}" for checkup, count in zip(checkups, done, strict=True)
    )
    return text, sum(done) / max(len(done) * len(CHECKS), 1)


def as_table(checkups: Sequence[CheckUp]) -> Table:
    """One row per check, and one column per account."""
    signs = [{result.check: _SIGNS[result.state] for result in checkup.results} for checkup in checkups]
    rows = [(check, *(row.get(check, "-") for row in signs)) for check in CHECKS]
    rows.append((_VERSIONED, *(_VERSIONS[checkup.versioned] for checkup in checkups)))
    return Table(("", *(checkup.account.name for checkup in checkups)), rows)


def as_lines(checkups: Sequence[CheckUp]) -> Iterator[str]:
    """A line for each warning and each failed check, and what to write into an account's JSON."""
    everything = [(checkup, result) for checkup in checkups for result in checkup.results]
    for state in (CheckState.WARNED, CheckState.FAILED):
        found = [(checkup, result) for checkup, result in everything if result.state is state]
        for checkup, result in found:
            yield f"{_SIGNS[state]} {checkup.account.name}, {result.check}: {result.detail}."
    for checkup in checkups:
        name = checkup.account.name
        if not checkup.is_usable:
            yield f"{name}: this store cannot be used; docs/stores.md lists stores that can."
        elif checkup.cures:
            yield f"{name}: write {as_json_lines(checkup.cures)} into AWS_ACCOUNT_{name}, and run the check again."
    if is_whole(checkups):
        yield "Everything that the service does works in each account."


def as_json(checkups: Sequence[CheckUp]) -> dict[str, Any]:
    return {
        "whole": is_whole(checkups),
        "accounts": {
            checkup.account.name: {
                "bucket": checkup.account.s3_bucket_name,
                "region": checkup.account.region_name,
                "versioned": checkup.versioned,
                "left": checkup.left,
                "set_to_false": list(checkup.cures),
                "usable": checkup.is_usable,
                "checks": [dataclasses.asdict(result) for result in checkup.results],
            }
            for checkup in checkups
        },
    }


async def _checked(accounts: Sequence[Account], checkups: list[CheckUp], progress: Progress) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    connect = s3_connector(settings.UPLOAD)
    async with AsyncExitStack() as stack:
        for account in accounts:
            bucket = await stack.enter_async_context(connect(account))
            checkups.append(CheckUp(bucket.client))
        async with asyncio.TaskGroup() as group:
            for checkup in checkups:
                group.create_task(checkup.run(lambda: progress(checkups)))
