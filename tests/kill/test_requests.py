"""The service is killed before and after each request that it makes to an account; then nothing is lost or left."""

import pytest

from testkit.faults.faultproxy import FaultProxy
from tests.kill.agreement import assert_agreement
from tests.kill.conftest import KILLED_AT_REQUESTS, NewVictim, Proxies, Shape, Victim
from tests.kill.points import Point, points
from tests.service.conftest import Accounts


async def die_at(victim: Victim, proxy: FaultProxy, point: Point, shape: Shape, *, comes_after: bool) -> int:
    """Upload, be killed at this request, and start again. Returns the status of the upload."""
    proxy.add(point.kills(victim, comes_after=comes_after))
    status = await victim.upload(shape, point.name(comes_after=comes_after))
    await victim.death()
    proxy.clear()
    await victim.start()
    return status


@pytest.mark.timeout(600)
@pytest.mark.parametrize("shape", KILLED_AT_REQUESTS, ids=str)
async def test_ledger_and_accounts_agree_after_a_kill_at_each_request(
    accounts: Accounts, proxies: Proxies, new_victim: NewVictim, shape: Shape
) -> None:
    # A loaded machine is slow, and none of these is to be a straggler.
    victim = new_victim(*(proxy.account for proxy in proxies.values()), UPLOAD_ACK_GRACE_SECONDS="20")
    await victim.start()
    assert await victim.upload(shape, "alive") == 201
    made = points(proxies)
    assert len(made) == len(accounts) * (1 if shape.parts == 1 else 3 + shape.parts)
    statuses = [
        await die_at(victim, proxies[point.account], point, shape, comes_after=comes_after)
        for point in made
        for comes_after in (False, True)
    ]
    assert set(statuses) == {0}
    await victim.settled()
    assert_agreement(victim.ledger, accounts.values(), told=["alive"])
