"""The service is killed before and after each commit of an upload; then nothing is lost or left."""

from itertools import product

import pytest

from tests.kill.agreement import assert_agreement
from tests.kill.conftest import EVERY_SHAPE, NewVictim, Shape
from tests.service.conftest import Accounts


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("ledger", "shape"),
    [*(("sqlite", shape) for shape in EVERY_SHAPE), ("postgresql", Shape("raw", 3, "any"))],
    ids=str,
    indirect=["ledger"],
)
async def test_ledger_and_accounts_agree_after_a_kill_at_each_commit(
    accounts: Accounts, new_victim: NewVictim, shape: Shape
) -> None:
    kinds = ["intent", "outcome"] if shape.parts == 1 else ["intent", "upload", "outcome"]
    victim = new_victim(*accounts.values())
    for kind, moment in product(kinds, ("before", "after")):
        await victim.start(f"{moment}:{kind}")
        assert await victim.upload(shape, f"{moment}-{kind}") == 0
        await victim.death()
    await victim.start()
    await victim.settled()
    assert_agreement(victim.ledger, accounts.values(), told=["after-outcome"])
    assert victim.ledger.acknowledged() == {"after-outcome"}
