"""The service is killed while an account goes on after the answer; the clean-up finds what that account has.

Two accounts answer; the third is held up until the client has its answer, so that all its requests come later.
"""

import threading
from collections.abc import Sequence
from itertools import product

import pytest

from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.kill.agreement import assert_agreement
from tests.kill.conftest import DEATH_SECONDS, NewVictim, Shape, Victim, answered_then_dead
from tests.kill.points import Point
from tests.service.conftest import Accounts, Proxied

SLOW = "C"
# Two accounts have the file before the answer, however slow the machine is: only the third goes on.
ONE_PART, TWO_PARTS = (Shape("raw", parts, "2") for parts in (1, 2))
# The minimum: a straggler may hold an eighth of it, which is less than a part.
LITTLE_MEMORY = 32 * 1024 * 1024
LOSES_PUT, LOSES_COMPLETE = (Fault.loses_reply(operation=operation) for operation in ("put", "complete"))
LATE = [
    (ONE_PART, [], ["put"]),
    (ONE_PART, [LOSES_PUT], ["head"]),  # asks whether the file was stored
    (TWO_PARTS, [], ["begin", "part 1", "part 2", "complete"]),
    (TWO_PARTS, [LOSES_COMPLETE], ["head"]),
    # The account refuses to publish, or holds too much memory and is let go: its upload is aborted.
    (TWO_PARTS, [Fault.refuses("AccessDenied", operation="complete")], ["abort", "list_parts"]),
    (TWO_PARTS, [Fault.stalls(operation="part", times=None)], ["abort", "list_parts"]),
]


async def assert_all_is_well(victim: Victim, accounts: Accounts, names: Sequence[str]) -> None:
    await victim.start()
    await victim.settled()
    assert_agreement(victim.ledger, accounts.values(), told=names)
    assert victim.ledger.acknowledged() == set(names)


@pytest.mark.parametrize(
    ("shape", "faults", "held_up"),
    LATE,
    ids=lambda value: "-".join(getattr(each, "name", str(each)) for each in value) if isinstance(value, list) else None,
)
async def test_a_straggler_is_settled_after_a_kill_at_each_request(
    accounts: Accounts, proxied: Proxied, new_victim: NewVictim, shape: Shape, faults: list[Fault], held_up: list[str]
) -> None:
    proxy, names = proxied(SLOW), list[str]()
    others = [account for name, account in accounts.items() if name != SLOW]
    memory = {"UPLOAD_MEMORY": str(LITTLE_MEMORY)} if any(fault.name == "stalls" for fault in faults) else {}
    victim = new_victim(*others, proxy.account, UPLOAD_ACK_GRACE_SECONDS="0.1", **memory)
    for request, comes_after in product(held_up, (False, True)):
        operation, _, number = request.partition(" ")
        point, answered = Point(SLOW, operation, int(number or 0)), threading.Event()
        proxy.add(*faults, point.kills(victim, comes_after=comes_after, once=answered))
        await victim.start()
        names.append(point.name(comes_after=comes_after))
        await answered_then_dead(victim, shape, names[-1], answered, proxy)
    await assert_all_is_well(victim, accounts, names)


@pytest.mark.parametrize("shape", [ONE_PART, TWO_PARTS], ids=str)
@pytest.mark.parametrize("kind", ["stored", "failed"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_straggler_is_settled_after_a_kill_at_the_commit_of_its_outcome(
    accounts: Accounts, proxied: Proxied, new_victim: NewVictim, shape: Shape, kind: str, moment: str
) -> None:
    proxy, answered = proxied(SLOW), threading.Event()
    others = [account for name, account in accounts.items() if name != SLOW]
    victim = new_victim(*others, proxy.account, UPLOAD_ACK_GRACE_SECONDS="0.1")
    hold_up(proxy, shape, answered, refused=kind == "failed")
    await victim.start(f"{moment}:{kind}")
    await answered_then_dead(victim, shape, kind, answered, proxy)
    await assert_all_is_well(victim, accounts, [kind])
    if kind == "stored":
        assert victim.ledger.everywhere(len(accounts)) == {kind}


def hold_up(proxy: FaultProxy, shape: Shape, answered: threading.Event, *, refused: bool) -> None:
    """The publishing request is held until the event, and its answer is lost: then the account is asked with HEAD."""
    publish = "put" if shape.parts == 1 else "complete"
    proxy.add(Fault.calls(lambda: answered.wait(DEATH_SECONDS), operation=publish, comes_after=not refused))
    if refused:
        # Of many parts the first question is whether the key is free.
        proxy.add(Fault.refuses("AccessDenied", operation="head", times=None, after=shape.parts - 1))
        proxy.add(Fault.refuses("AccessDenied", operation=publish, times=None))
