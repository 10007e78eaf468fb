"""A service that the tests of one module share: starting one for each case would take longer than the cases."""

from collections.abc import AsyncIterator

import pytest_asyncio

from file.models import File
from tests.serving import running
from tests.unit.api.expectations import PART, Shared, three


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_service() -> AsyncIterator[Shared]:
    buckets = three()
    async with running(buckets, part_size=PART) as service:
        yield Shared(service, buckets)


@pytest_asyncio.fixture(loop_scope="module")
async def shared(module_service: Shared) -> Shared:
    """With empty buckets and an empty ledger. Its tests run in the module's loop."""
    service = module_service.service
    await service.application.ledger.writer.run(File.objects.using(service.database).all().delete)
    for bucket in module_service.buckets:
        bucket.objects.clear()
        bucket.uploads.clear()
        bucket.calls.clear()
    return module_service
