"""The metrics of a service, as a client reads them.

Those of the whole process are compared with earlier ones, because other tests count there, too.
"""

from collections.abc import Iterable, Mapping

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

Figures = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
Series = dict[tuple[str, ...], float]


def figures_of(families: Iterable[Metric]) -> Figures:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def parsed(text: str) -> Figures:
    return figures_of(text_string_to_metric_families(text))


async def read(client: httpx.AsyncClient) -> Figures:
    answer = await client.get("/_/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return parsed(answer.text)


def value(figures: Figures, name: str, **labels: str) -> float:
    return figures.get((name, frozenset(labels.items())), 0.0)


def series(figures: Figures, name: str, *labels: str) -> Series:
    """The values of these labels, and the figure."""
    return {
        tuple(dict(each)[label] for label in labels): number
        for (found, each), number in figures.items()
        if found == name
    }


def grown(before: Figures, after: Figures, name: str, **labels: str) -> float:
    return value(after, name, **labels) - value(before, name, **labels)


def growth(before: Figures, after: Figures, name: str, *labels: str) -> Series:
    """By how much each series of this name has grown, if it has."""
    earlier = series(before, name, *labels)
    grown_by = {key: number - earlier.get(key, 0.0) for key, number in series(after, name, *labels).items()}
    return {key: number for key, number in grown_by.items() if number}
