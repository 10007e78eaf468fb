"""The service is killed at each request and each commit of catch-up and of an erasure; the next one goes on."""

from dataclasses import replace
from itertools import product

import httpx
import pytest

from testkit.faults.faultproxy import FaultProxy
from tests.kill.agreement import assert_agreement
from tests.kill.conftest import NewVictim, Proxies, Shape, Victim
from tests.kill.points import Point, points
from tests.service.conftest import Accounts
from tests.service.owners import assert_nothing_left
from tests.serving import HEADERS, PLAIN

BEHIND = "C"
# Two accounts have the file before the answer: a killed service leaves only the third one to catch up.
SHAPES = [Shape("raw", parts, "2") for parts in (1, 2)]


@pytest.fixture
def victim(proxies: Proxies, new_victim: NewVictim) -> Victim:
    return new_victim(*(proxy.account for proxy in proxies.values()), UPLOAD_ACK_GRACE_SECONDS="0.1")


async def missed(victim: Victim, proxy: FaultProxy, shape: Shape, name: str) -> None:
    """A file that the account lacks. Its service has brought all earlier files, and is killed then."""
    await victim.start()
    await victim.settled()
    proxy.refuse_connections()
    assert await victim.upload(shape, name) == 202
    await victim.kill()
    victim.ledger.let_leases_lapse()
    proxy.accept_connections()


async def brought(victim: Victim, proxies: Proxies, shape: Shape) -> list[Point]:
    """Every request of bringing a file."""
    await missed(victim, proxies[BEHIND], shape, "first")
    before = points(proxies)
    await victim.start()
    await victim.settled()
    await victim.kill()
    return [point for point in points(proxies) if point not in before and point.operation != "list"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
async def test_catch_up_survives_a_kill_at_each_request(
    accounts: Accounts, proxies: Proxies, victim: Victim, shape: Shape
) -> None:
    made = await brought(victim, proxies, shape)
    publishing = {"put"} if shape.parts == 1 else {"begin", "part", "complete"}
    assert {point.operation for point in made if point.account == BEHIND} >= {"head", *publishing}
    names = ["first"]
    for point, comes_after in product(made, (False, True)):
        names.append(point.name(comes_after=comes_after))
        await missed(victim, proxies[BEHIND], shape, names[-1])
        proxies[point.account].add(replace(point, earlier=0).kills(victim, comes_after=comes_after))
        await victim.start(may_die=True)
        await victim.death_and_lapse(proxies[point.account])
    await victim.start()
    await victim.settled()
    assert_agreement(victim.ledger, accounts.values(), told=names)
    assert victim.ledger.everywhere(len(accounts)) == set(names)


async def delete(victim: Victim, key: str) -> int:
    """The status; 0 if the connection broke."""
    async with httpx.AsyncClient(base_url=victim.process.url, headers=HEADERS, **PLAIN) as client:
        try:
            return (await client.delete(f"/files/{key}")).status_code
        except httpx.TransportError:
            return 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("ledger", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("commit", ["erasing", "claim", "erased"])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_erasure_survives_a_kill_at_each_commit(
    accounts: Accounts, victim: Victim, commit: str, moment: str
) -> None:
    await victim.start()
    assert await victim.upload(Shape("raw", 1, "all"), "k") == 201
    await victim.kill()
    await victim.start(f"{moment}:{commit}")
    assert await delete(victim, "k") == 0
    await victim.death_and_lapse()
    await victim.start()
    await victim.settled()
    if moment == "before" and commit != "erased":  # both in one transaction
        assert_agreement(victim.ledger, accounts.values(), told=["k"])
        assert await delete(victim, "k") == 200
    assert victim.ledger.ask("SELECT key, name, state FROM file_file") == [("", "", "erased")]
    assert_nothing_left(accounts.values())


@pytest.mark.timeout(300)
async def test_an_erasure_survives_a_kill_at_each_request(accounts: Accounts, proxies: Proxies, victim: Victim) -> None:
    shape = Shape("raw", 1, "all")
    await victim.start()
    assert await victim.upload(shape, "first") == 201
    before = points(proxies)
    assert await delete(victim, "first") == 200
    made = [point for point in points({"A": proxies["A"]}) if point not in before and point.operation != "list"]
    assert {point.operation for point in made} == {"list_versions", "head", "delete"}
    for point, comes_after in product(made, (False, True)):
        name = point.name(comes_after=comes_after)
        assert await victim.upload(shape, name) == 201
        proxies["A"].add(Point("A", point.operation).kills(victim, comes_after=comes_after))
        assert await delete(victim, name) == 0
        await victim.death_and_lapse(proxies["A"])
        await victim.start()
        await victim.settled()
    assert {state for (state,) in victim.ledger.ask("SELECT state FROM file_file")} == {"erased"}
    assert_nothing_left(accounts.values())
