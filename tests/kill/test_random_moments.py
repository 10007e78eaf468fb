"""The service is killed at random moments under load; what was acknowledged is there, and nothing else."""

import asyncio
import random
from collections.abc import Iterator
from itertools import count

import pytest

from tests.kill.agreement import assert_agreement, assert_settled
from tests.kill.conftest import LEASE_SECONDS, SETTLED_SECONDS, NewVictim, Shape, Victim
from tests.service.conftest import Accounts

KILLS = 50
CLIENTS = 6
SHORTEST_SECONDS, LONGEST_SECONDS = 0.05, 0.6


def shapes(chance: random.Random) -> Iterator[Shape]:
    """Mostly small ones, as in life."""
    while True:
        yield Shape(
            way=chance.choice(["form", "raw"]),
            parts=chance.choices([1, 2], [9, 1])[0],
            ack=chance.choice(["all", "all", "quorum", "any"]),
        )


async def upload_on_and_on(
    victim: Victim, wanted: Iterator[Shape], numbers: Iterator[int], told: dict[str, int]
) -> None:
    """Until the service is gone."""
    while True:
        name = f"file-{next(numbers)}"
        status = await victim.upload(next(wanted), name)
        if not status:
            return
        told[name] = status


@pytest.mark.timeout(600)
async def test_what_was_acknowledged_is_there_when_the_service_is_killed_at_random_moments(
    accounts: Accounts, new_victim: NewVictim
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    chance, numbers, told = random.Random(seed), count(), dict[str, int]()  # noqa: S311 - moments, no secrets
    wanted, victim = shapes(chance), new_victim(*accounts.values())
    for _ in range(KILLS):
        await victim.start()
        clients = [asyncio.create_task(upload_on_and_on(victim, wanted, numbers, told)) for _ in range(CLIENTS)]
        await asyncio.sleep(chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS))
        await victim.kill()
        await asyncio.gather(*clients)
    await victim.start()
    await asyncio.to_thread(assert_settled, victim.ledger, LEASE_SECONDS + SETTLED_SECONDS)
    acknowledged = [name for name, status in told.items() if status in (201, 202)]
    assert set(told.values()) <= {201, 202}, f"seed {seed}"
    assert len(acknowledged) > KILLS, f"seed {seed}"
    assert_agreement(victim.ledger, accounts.values(), told=acknowledged)
    everywhere = {name for name, status in told.items() if status == 201}
    assert everywhere - victim.ledger.everywhere(len(accounts)) == set(), f"seed {seed}"
