"""The service is killed while it rolls an upload back, and while it cleans up; the next one finishes.

The tests do not wait for the leases of a killed service, but let them run out (`Ledger.let_leases_lapse`).
"""

import threading
from itertools import product

import pytest

from testkit.faults.faults import Fault
from tests.kill.agreement import assert_agreement
from tests.kill.conftest import NewVictim, Proxies, Shape, Victim, answered_then_dead
from tests.kill.points import Point, points
from tests.service.conftest import Accounts
from tests.service.owners import assert_nothing_left

REFUSING = "C"
LOOKS = 2  # an account without an object is looked at twice; a third look is rare
CLEANED = "A"  # all accounts are cleaned alike
PUBLISHING = ["put", "begin", "part", "complete"]
ONE_PART, TWO_PARTS = Shape("raw", 1, "all"), Shape("raw", 2, "all")
UNFINISHED = [  # the upload, where the service dies, and what is then in the account
    (ONE_PART, "before:outcome"),  # the object
    (TWO_PARTS, "before:outcome"),  # the object, and an upload that is recorded and no longer there
    (TWO_PARTS, "complete"),  # an upload that is recorded
    (TWO_PARTS, "begin"),  # an upload that is not
]


@pytest.fixture
def victim(proxies: Proxies, new_victim: NewVictim) -> Victim:
    return new_victim(*(proxy.account for proxy in proxies.values()))


async def assert_nothing_is_left(victim: Victim, accounts: Accounts) -> None:
    await victim.settled(lastly=True)
    assert_agreement(victim.ledger, accounts.values(), told=[])
    assert victim.ledger.ask("SELECT name, state FROM file_file") == []
    assert_nothing_left(accounts.values())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", [ONE_PART, TWO_PARTS], ids=str)
async def test_a_roll_back_survives_a_kill_at_each_request(
    accounts: Accounts, proxies: Proxies, victim: Victim, shape: Shape
) -> None:
    refuses = Fault.refuses("AccessDenied", operation="put" if shape.parts == 1 else "complete", times=None)
    await victim.start()
    proxies[REFUSING].add(refuses)
    assert await victim.upload(shape, "refused") == 502
    made = points(proxies, without=PUBLISHING)
    assert {point.operation for point in made} >= {"list_versions", "head", "delete"}
    for point, comes_after in product(made, (False, True)):
        proxies[point.account].add(point.kills(victim, comes_after=comes_after))
        assert await victim.upload(shape, point.name(comes_after=comes_after)) == 0
        await victim.death_and_lapse(*proxies.values())
        await victim.start()
        await victim.settled()  # the clean-up makes the same requests, and must not meet the next fault
        proxies[REFUSING].add(refuses)
    await assert_nothing_is_left(victim, accounts)


async def leave(victim: Victim, proxies: Proxies, shape: Shape, died: str, name: str) -> None:
    """An unfinished upload: the service dies at a commit, or at a request, after it has cleaned up all earlier ones."""
    proxies[CLEANED].clear()
    if ":" not in died:
        proxies[CLEANED].add(Point(CLEANED, died).kills(victim, comes_after=died == "begin"))
    await victim.start(died if ":" in died else "")
    await victim.settled()
    assert await victim.upload(shape, name) == 0
    await victim.death_and_lapse(proxies[CLEANED])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("shape", "died"), UNFINISHED, ids=str)
async def test_the_clean_up_survives_a_kill_at_each_request(
    accounts: Accounts, proxies: Proxies, victim: Victim, shape: Shape, died: str
) -> None:
    await leave(victim, proxies, shape, died, "first")
    before = points({CLEANED: proxies[CLEANED]})
    await victim.start()
    await victim.settled()
    after = points({CLEANED: proxies[CLEANED]}, without=PUBLISHING)
    made = [point for point in after if point not in before and point.earlier < LOOKS]
    assert {point.operation for point in made} >= {"list_versions", "head"}
    await victim.kill()
    for point, comes_after in product(made, (False, True)):
        await leave(victim, proxies, shape, died, point.name(comes_after=comes_after))
        proxies[CLEANED].add(point.kills(victim, comes_after=comes_after))
        await victim.start(may_die=True)
        await victim.death_and_lapse(proxies[CLEANED])  # the claim has run out, too
    await victim.start()
    await assert_nothing_is_left(victim, accounts)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", [ONE_PART, TWO_PARTS], ids=str)
async def test_the_clean_up_survives_a_kill_at_each_commit(
    accounts: Accounts, proxies: Proxies, victim: Victim, shape: Shape
) -> None:
    for kind, moment in product(("taken", "claim", "looked", "erased"), ("before", "after")):
        await leave(victim, proxies, shape, "before:outcome", f"{moment}-{kind}")
        await victim.start(f"{moment}:{kind}", may_die=True)
        await victim.death_and_lapse()
    await victim.start()
    await assert_nothing_is_left(victim, accounts)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", [Shape("raw", parts, "any") for parts in (1, 2)], ids=str)
async def test_a_published_replica_is_found_after_two_kills(
    accounts: Accounts, proxies: Proxies, victim: Victim, shape: Shape
) -> None:
    proxy, names = proxies[REFUSING], list[str]()
    published = Point(REFUSING, "put" if shape.parts == 1 else "complete")
    for death, moment in product(("claim", "stored", "head"), ("before", "after")):
        names.append(f"{moment}-{death}")
        answered = threading.Event()
        proxy.add(published.kills(victim, comes_after=True, once=answered))
        await victim.start()
        await answered_then_dead(victim, shape, names[-1], answered, proxy)
        if death == "head":
            proxy.add(Point(REFUSING, death).kills(victim, comes_after=moment == "after"))
        await victim.start("" if death == "head" else f"{moment}:{death}", may_die=True)
        await victim.death_and_lapse(proxy)
    await victim.start()
    await victim.settled()
    assert_agreement(victim.ledger, accounts.values(), told=names)
    assert victim.ledger.everywhere(len(accounts)) == set(names)
