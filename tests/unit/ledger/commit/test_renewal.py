"""Leases go on being renewed, whatever one renewal meets."""

from structlog.testing import capture_logs

from file.ledger.commit.renewal import Renewal
from file.ledger.commit.writer import Writer
from tests.unit.api.expectations import until


async def test_leases_are_renewed_again_when_a_renewal_crashed(sqlite_database: str) -> None:
    async with Writer(sqlite_database, list) as writer:
        renewal = Renewal(writer, sqlite_database, "owner", lease_seconds=0.03)
        renewal.files.add("no id at all")
        with capture_logs() as logs:
            renewal.start()
            try:
                await until(lambda: len(logs) > 1)
            finally:
                await renewal.stop()
        assert {line["event"] for line in logs} == {"renewal_crashed"}
