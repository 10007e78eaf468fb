"""The tests of a run that is interrupted. Only `test_interruption.py` starts them."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.kill.conftest import NewVictim
from tests.service.conftest import Accounts

TELL = "MENTUM_TEST_TELL"  # the file that they write to when everything runs


@pytest.mark.parametrize("ledger", ["postgresql"], indirect=True)
@pytest.mark.parametrize("place", ["first", "second"])  # one for each of two workers
async def test_it_goes_on_until_it_is_interrupted(accounts: Accounts, new_victim: NewVictim, place: str) -> None:
    victim = new_victim(*accounts.values())
    await victim.start()
    await asyncio.to_thread(Path(os.environ[TELL]).write_text, f"{place}\n")
    await asyncio.Event().wait()
