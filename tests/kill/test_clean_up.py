"""The service is killed while it takes an upload back, and while it cleans up; the next one finishes.

The leases of the dead are not waited for: the ledger is told that they have run out (`Ledger.let_leases_lapse`).
"""

import asyncio
import threading

import pytest

from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.kill.agreement import assert_agreement, assert_settled
from tests.kill.conftest import LEASE_SECONDS, SETTLED_SECONDS, NewVictim, Shape, Victim, told_then_dead
from tests.kill.points import Point, points
from tests.service.conftest import Accounts, Proxied
from tests.service.owners import assert_nothing_left

REFUSING = "C"
LOOKS = 2  # an account that has nothing says so twice; a third look is made only now and then
CLEANED = "A"  # each account is cleaned by itself, and like the others
PUBLISHING = ["put", "begin", "part", "complete"]
ONE_PART, TWO_PARTS = Shape("raw", 1, "all"), Shape("raw", 2, "all")
UNFINISHED = [  # what died, where; and what lies in the account then
    (ONE_PART, "before:outcome"),  # the object
    (TWO_PARTS, "before:outcome"),  # the object, and an upload that is recorded and no longer there
    (TWO_PARTS, "complete"),  # an upload that is recorded
    (TWO_PARTS, "begin"),  # an upload that is not
]


@pytest.fixture
def proxies(accounts: Accounts, proxied: Proxied) -> dict[str, FaultProxy]:
    return {name: proxied(name) for name in accounts}


@pytest.fixture
def victim(proxies: dict[str, FaultProxy], new_victim: NewVictim) -> Victim:
    return new_victim(*(proxy.account for proxy in proxies.values()))


async def settled(victim: Victim) -> None:
    await asyncio.to_thread(assert_settled, victim.ledger, LEASE_SECONDS + SETTLED_SECONDS)


def clear(proxies: dict[str, FaultProxy]) -> None:
    for proxy in proxies.values():
        proxy.clear()


async def assert_nothing_is_left(victim: Victim, accounts: Accounts) -> None:
    await asyncio.to_thread(assert_settled, victim.ledger, LEASE_SECONDS + SETTLED_SECONDS, lastly=True)
    assert_agreement(victim.ledger, accounts.values(), told=[])
    assert victim.ledger.ask("SELECT name, state FROM file_file") == []
    assert_nothing_left(accounts.values())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", [ONE_PART, TWO_PARTS], ids=str)
async def test_nothing_is_left_when_the_service_is_killed_at_each_request_of_a_roll_back(
    accounts: Accounts, proxies: dict[str, FaultProxy], victim: Victim, shape: Shape
) -> None:
    refuses = Fault.refuses("AccessDenied", operation="put" if shape.parts == 1 else "complete", times=None)
    await victim.start()
    proxies[REFUSING].add(refuses)
    assert await victim.upload(shape, "refused") == 502
    made = points(proxies, without=PUBLISHING)
    assert {point.operation for point in made} >= {"list_versions", "head", "delete"}
    for point in made:
        for comes_after in (False, True):
            proxies[point.account].add(point.kills(victim, comes_after=comes_after))
            assert await victim.upload(shape, point.name(comes_after=comes_after)) == 0
            await victim.death()
            clear(proxies)
            victim.ledger.let_leases_lapse()
            await victim.start()
            # The clean-up makes the same requests: it must not meet the next fault.
            await settled(victim)
            proxies[REFUSING].add(refuses)
    await assert_nothing_is_left(victim, accounts)


async def leave(victim: Victim, proxies: dict[str, FaultProxy], shape: Shape, died: str, name: str) -> None:
    """An upload that is not finished: the service dies at a commit, or before a request's answer.

    It has cleaned up what was left before.
    """
    clear(proxies)
    if ":" not in died:
        proxies[CLEANED].add(Point(CLEANED, died).kills(victim, comes_after=died == "begin"))
    await victim.start(died if ":" in died else "")
    await settled(victim)
    assert await victim.upload(shape, name) == 0
    await victim.death()
    clear(proxies)
    victim.ledger.let_leases_lapse()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("shape", "died"), UNFINISHED, ids=str)
async def test_nothing_is_left_when_the_service_is_killed_at_each_request_of_its_clean_up(
    accounts: Accounts, proxies: dict[str, FaultProxy], victim: Victim, shape: Shape, died: str
) -> None:
    await leave(victim, proxies, shape, died, "first")
    before = points({CLEANED: proxies[CLEANED]})
    await victim.start()
    await settled(victim)
    made = [
        point
        for point in points({CLEANED: proxies[CLEANED]}, without=PUBLISHING)
        if point not in before and point.earlier < LOOKS
    ]
    assert {point.operation for point in made} >= {"list_versions", "head"}
    await victim.kill()
    for point in made:
        for comes_after in (False, True):
            await leave(victim, proxies, shape, died, point.name(comes_after=comes_after))
            proxies[CLEANED].add(point.kills(victim, comes_after=comes_after))
            await victim.start(may_die=True)
            await victim.death()
            # The claim of the dead has run out, too; the rest is for the next one.
            victim.ledger.let_leases_lapse()
    clear(proxies)
    await victim.start()
    await assert_nothing_is_left(victim, accounts)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", [ONE_PART, TWO_PARTS], ids=str)
async def test_nothing_is_left_when_the_service_is_killed_at_each_commit_of_its_clean_up(
    accounts: Accounts, proxies: dict[str, FaultProxy], victim: Victim, shape: Shape
) -> None:
    for kind in ("taken", "claim", "looked", "erased"):
        for moment in ("before", "after"):
            await leave(victim, proxies, shape, "before:outcome", f"{moment}-{kind}")
            await victim.start(f"{moment}:{kind}", may_die=True)
            await victim.death()
            victim.ledger.let_leases_lapse()
    await victim.start()
    await assert_nothing_is_left(victim, accounts)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", [Shape("raw", parts, "any") for parts in (1, 2)], ids=str)
async def test_what_an_account_has_counts_when_the_service_is_killed_while_it_finds_it(
    accounts: Accounts, proxies: dict[str, FaultProxy], victim: Victim, shape: Shape
) -> None:
    proxy, names = proxies[REFUSING], list[str]()
    published = Point(REFUSING, "put" if shape.parts == 1 else "complete")
    for death in ("claim", "stored", "head"):
        for moment in ("before", "after"):
            names.append(f"{moment}-{death}")
            told = threading.Event()
            proxy.add(published.kills(victim, comes_after=True, once=told))
            await victim.start()
            await told_then_dead(victim, shape, names[-1], told)
            clear(proxies)
            victim.ledger.let_leases_lapse()
            if death == "head":
                proxy.add(Point(REFUSING, death).kills(victim, comes_after=moment == "after"))
            await victim.start("" if death == "head" else f"{moment}:{death}", may_die=True)
            await victim.death()
            clear(proxies)
            victim.ledger.let_leases_lapse()
    await victim.start()
    await settled(victim)
    assert_agreement(victim.ledger, accounts.values(), told=names)
    assert victim.ledger.everywhere(len(accounts)) == set(names)
