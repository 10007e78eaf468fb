"""Which accounts shall have a file. One function, through which every byte's destination passes."""

from collections.abc import Sequence

from file.logic.seams import Bucket


def place(buckets: Sequence[Bucket]) -> Sequence[Bucket]:
    """Every configured account: the ack is `all`."""
    return buckets
