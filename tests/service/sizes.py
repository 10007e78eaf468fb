"""Sizes of files and time limits of the service that the tests of this folder use."""

from functools import cache

import pytest

from file.logic.values import KiB, MiB
from tests.files import bytes_of

PART_BYTES = 5 * MiB
ONE_PART = 5 * KiB
MANY_PARTS = PART_BYTES + 256 * KiB  # well beyond what is still one put
SIZES = [ONE_PART, MANY_PARTS]
each_size = pytest.mark.parametrize("size", SIZES)
# With the request that makes the file visible.
each_publication = pytest.mark.parametrize(("operation", "size"), [("put", ONE_PART), ("complete", MANY_PARTS)])

# PATIENT where nothing stalls, because the machine may be slow; SHORT where an account fails by taking too long.
PATIENT = {"part_size": PART_BYTES, "max_request_bytes": 0, "settle_seconds": 0.3, "stall_seconds": 10.0}
SHORT = {
    "stall_seconds": 1.5,
    "account_bytes_per_second": 4 * MiB,
    "complete_seconds": 1.5,
    "remove_seconds": 1.5,
    "settle_seconds": 0.3,
}
QUICK = {**SHORT, "lease_seconds": 1.0, "grace_seconds": 10.0}


@cache
def content(size: int) -> bytes:
    return bytes_of(size)
