"""Parts that cannot run do not stop the others."""

from pathlib import Path

import pytest

from bench.errors import BenchError, MissingLibraryError
from bench.parts import run_parts
from bench.plan import QUICK
from bench.run import Run
from testkit.errors import StoreError


@pytest.mark.parametrize("error", [BenchError("it broke"), StoreError("it broke")], ids=["bench", "store"])
def test_the_other_parts_run_when_one_fails_and_one_is_skipped(error: Exception, tmp_path: Path) -> None:
    ran: list[str] = []
    said: list[str] = []

    def fails(_: Run) -> None:
        raise error

    def lacks(_: Run) -> None:
        raise MissingLibraryError("install it")

    parts = {"small": fails, "tls": lacks, "sizes": lambda _: ran.append("sizes")}
    failed, skipped = run_parts(Run(QUICK, tmp_path, said.append), parts)
    assert (failed, skipped, ran) == ({"small": "it broke"}, {"tls": "install it"}, ["sizes"])
    assert said == ["small: FAILED: it broke", "tls: skipped: install it"]
