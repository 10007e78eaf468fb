"""The service is killed at random moments under load: every acknowledged file is there, and nothing else."""

import asyncio
import random
from collections.abc import Iterator
from itertools import count

import pytest

from tests.kill.agreement import assert_agreement
from tests.kill.conftest import NewVictim, Shape, Victim
from tests.service.conftest import Accounts

KILLS = 50
CLIENTS = 6
SHORTEST_SECONDS, LONGEST_SECONDS = 0.05, 0.6


def shapes(chance: random.Random) -> Iterator[Shape]:
    """Mostly small ones."""
    while True:
        yield Shape(
            way=chance.choice(["form", "raw"]),
            parts=chance.choices([1, 2], [9, 1])[0],
            ack=chance.choice(["all", "all", "quorum", "any"]),
        )


async def keep_uploading(
    victim: Victim, wanted: Iterator[Shape], numbers: Iterator[int], statuses: dict[str, int]
) -> None:
    """Until the service is killed."""
    while status := await victim.upload(next(wanted), name := f"file-{next(numbers)}"):
        statuses[name] = status


@pytest.mark.timeout(600)
async def test_every_acknowledged_file_survives_kills_at_random_moments(
    accounts: Accounts, new_victim: NewVictim
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    chance, numbers, statuses = random.Random(seed), count(), dict[str, int]()  # noqa: S311 - moments, no secrets
    wanted, victim = shapes(chance), new_victim(*accounts.values())
    for _ in range(KILLS):
        await victim.start()
        clients = [asyncio.create_task(keep_uploading(victim, wanted, numbers, statuses)) for _ in range(CLIENTS)]
        await asyncio.sleep(chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS))
        await victim.kill()
        await asyncio.gather(*clients)
    await victim.start()
    await victim.settled()
    acknowledged = [name for name, status in statuses.items() if status in (201, 202)]
    assert set(statuses.values()) <= {201, 202}, f"seed {seed}"
    assert len(acknowledged) > KILLS, f"seed {seed}"
    assert_agreement(victim.ledger, accounts.values(), told=acknowledged)
    everywhere = {name for name, status in statuses.items() if status == 201}
    assert everywhere - victim.ledger.everywhere(len(accounts)) == set(), f"seed {seed}"
