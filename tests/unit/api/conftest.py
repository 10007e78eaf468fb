"""Services that tests share: the start of one takes longer than a test."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from file.models import File
from testkit.memorybucket import MemoryBucket
from tests.readers import Reader, reading
from tests.unit.api.expectations import PART, Shared, memory_service, three


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_service() -> AsyncIterator[Shared]:
    async with memory_service(part_size=PART) as service:
        yield service


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


@pytest.fixture
def buckets() -> list[MemoryBucket]:
    return three()


@pytest.fixture
async def reader(buckets: list[MemoryBucket]) -> AsyncIterator[Reader]:
    """Serves files from `buckets`, and only reads."""
    async with reading(buckets) as reader:
        yield reader
