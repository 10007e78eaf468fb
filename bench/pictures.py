"""Draws a result: `python -m bench.pictures RESULT.json FOLDER`, in the environment of the benchmark.

Draws speed and CPU cost by file size, and time by number of accounts, as SVG. The same result gives the same bytes.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.plan import size_name

Points = dict[str, list[tuple[float, float]]]
# Each contestant always has the same colour.
_COLOURS = {
    "ours": "#c0392b",
    "rclone": "#2c6fbb",
    "boto3 kept, threads": "#6b8e23",
    "first design": "#8e6c3a",
    "obstore, at once": "#7d3c98",
    "aiobotocore, at once": "#b7950b",
    "s5cmd, at once": "#148f77",
    "raw, 1 account": "#909497",
}


def by_size(result: dict[str, Any], metric: str, parts: tuple[str, ...]) -> Points:
    """The figure of each contestant by file size."""
    points: Points = {}
    for scenario in result["scenarios"]:
        # For small files, the turn with 16 at once.
        if scenario["part"] not in parts or (scenario["part"] == "small" and scenario["at_once"] != 16):
            continue
        for row in scenario["rows"]:
            if row["contestant"] in _COLOURS and metric in row["figures"]:
                figure = row["figures"][metric]["median"]
                if figure > 0:  # the limit has no CPU time, and a logarithmic axis cannot show 0
                    points.setdefault(row["contestant"], []).append((scenario["size"], figure))
    return points


def by_accounts(result: dict[str, Any], size: int) -> Points:
    """The median time of an upload by number of accounts."""
    points: Points = {}
    for scenario in result["scenarios"]:
        if scenario["part"] != "accounts" or scenario["size"] != size:
            continue
        for row in scenario["rows"]:
            named = re.fullmatch(r"(\w+), (\d+) accounts?", row["contestant"])
            if named and "p50_ms" in row["figures"]:
                point = (int(named.group(2)), row["figures"]["p50_ms"]["median"])
                points.setdefault(named.group(1), []).append(point)
    return points


def draw(points: Points, path: Path, *, title: str, x_label: str, y_label: str, sizes: bool) -> None:
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes: Axes = figure.subplots()
    for name, colour in _COLOURS.items():
        if name in points:
            across, up = zip(*sorted(points[name]), strict=True)
            axes.plot(across, up, marker="o", color=colour, label=name, linewidth=2.2 if name == "ours" else 1.3)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({across for line in points.values() for across, _ in line})
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_name(round(value)) if sizes else f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, alpha=0.3)
    if points:
        axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def main() -> None:
    mpl.rcParams["svg.hashsalt"] = "bench"  # names inside the file are derived from it
    result, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    pictures = (
        ("speed", by_size(result, "mb_per_second", ("small", "sizes")),
         "Speed: three accounts, null S3", "file size", "MB/s received", True),
        ("cpu", by_size(result, "cpu_seconds_per_gb", ("small", "sizes")),
         "Cost: three accounts, null S3", "file size", "CPU seconds per GB received", True),
        ("accounts", by_accounts(result, 5 * 1024 * 1024),
         "Time of one upload of 5 MiB, null S3", "accounts", "milliseconds", False),
    )  # fmt: skip
    for name, points, title, x_label, y_label, sizes in pictures:
        path = folder / f"{name}.svg"
        draw(points, path, title=title, x_label=x_label, y_label=y_label, sizes=sizes)
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
