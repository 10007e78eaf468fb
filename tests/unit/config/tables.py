"""Tables of cases by what they have in common."""

from collections.abc import Mapping, Sequence


def each(table: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """A case per value: the name of its group, and the value."""
    return [(group, value) for group, values in table.items() for value in values]
