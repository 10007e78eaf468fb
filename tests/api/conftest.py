"""A service that the tests of one module share: starting one for each case would take longer than the cases."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.api.expectations import PART, Shared, three
from tests.serving import running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_service() -> AsyncIterator[Shared]:
    buckets = three()
    async with running(buckets, part_size=PART) as service:
        yield Shared(service, buckets)


@pytest.fixture
def shared(module_service: Shared) -> Shared:
    """With empty buckets. Its tests run in the module's loop."""
    for bucket in module_service.buckets:
        bucket.objects.clear()
        bucket.uploads.clear()
        bucket.calls.clear()
    return module_service
