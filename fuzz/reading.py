"""`python -m fuzz.reading [--quick] [--seed S]`: compares our reader of requests with two judges, h11 and llhttp.

Reads 100,000 generated and mutated pieces of traffic, whole and cut into segments. What our reader accepts, both judges
must accept and read in the same way: method, target, fields, the bytes of the body, its end, and whether another
request follows. Differences must have a reason in `strictness.py`. The exit code is 1 otherwise; `--only N` shows a
case.
"""

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from fuzz.comparison import leniencies, line_of, refused_alone
from fuzz.judges import Reading, read_by_h11, read_by_llhttp
from fuzz.ours import read_by_us
from fuzz.strictness import LENIENCIES, can_be_judged, reason_of
from fuzz.wires import Wires
from soak.report import Progress, table

WHOLE, QUICK = 100_000, 3_000
_SHOWN = 20
_NOT_JUDGED = "not judged"


@dataclass(slots=True)
class Figures:
    """Of a run. `findings`: what is wrong, and the number of its case."""

    cases: int = 0
    requests: int = 0  # that our reader read to their end
    body_bytes: int = 0
    refused: int = 0  # by our reader
    refused_alone: Counter[str] = field(default_factory=Counter)  # of these, by the reason
    more_lenient: Counter[str] = field(default_factory=Counter)  # requests, by the reason
    findings: list[tuple[int, str]] = field(default_factory=list)


async def compare(seed: int, numbers: Iterable[int], progress: Progress | None = None) -> Figures:
    figures, wires = Figures(), Wires(seed)
    for number in numbers:
        wire = wires.wire(number)
        await _read(figures, number, wire, wires.segments(number, wire))
        if progress is not None and number % 500 == 0:
            progress(f"{figures.cases:7,} cases, {figures.requests:,} requests, {len(figures.findings)} findings")
    return figures


async def _read(figures: Figures, number: int, wire: bytes, segments: list[bytes]) -> None:
    figures.cases += 1
    ours = await read_by_us([wire])
    figures.requests += sum(message.is_whole for message in ours.messages)
    figures.body_bytes += sum(len(message.body) for message in ours.messages)
    figures.refused += ours.refusal is not None
    found = []
    cut = await read_by_us(segments, into_memory=True)
    if (cut.messages, cut.refusal is None) != (ours.messages, ours.refusal is None):
        found.append(f"reads {cut} in segments, and {ours} in one piece")
    while leveled := _leveled(figures, wire, ours):
        wire, ours = leveled, await read_by_us([leveled])
    ours = _judged(ours)
    by_h11, by_llhttp = read_by_h11(wire), read_by_llhttp(wire)
    found += [*leniencies(ours, by_h11, "h11"), *leniencies(ours, by_llhttp, "llhttp")]
    refused = refused_alone(ours, (by_h11, by_llhttp)) if ours.refusal != _NOT_JUDGED else None
    if refused is not None:
        reason = reason_of(refused, wire)
        if reason is None:
            found.append(f"refuses {line_of(refused)}, and no reason is known: {ours.refusal}")
        else:
            figures.refused_alone[reason] += 1
    figures.findings += [(number, text) for text in found]


def _leveled(figures: Figures, wire: bytes, ours: Reading) -> bytes | None:
    """The bytes without the first known leniency; None if there is none."""
    for message in ours.messages:
        for reason, level in LENIENCIES.items():
            if (leveled := level(message, wire)) != wire:
                figures.more_lenient[reason] += 1
                return leveled
    return None


def _judged(ours: Reading) -> Reading:
    """Up to a request that llhttp cannot judge."""
    for number, message in enumerate(ours.messages):
        if not can_be_judged(message):
            return Reading(ours.messages[:number], _NOT_JUDGED)
    return ours


def main() -> int:
    asked = _arguments()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    if asked.only is not None:
        _show(Wires(seed), asked.only)
    numbers = range(asked.requests) if asked.only is None else (asked.only,)
    print(f"Seed {seed}, {len(numbers):,} cases.", file=sys.stderr, flush=True)
    progress = Progress(out=sys.stderr)
    figures = asyncio.run(compare(seed, numbers, progress))
    progress.end()
    print(table(_told(figures)), flush=True)
    for number, text in figures.findings[:_SHOWN]:
        print(f"case {number} (--seed {seed} --only {number}): our reader {text[:1_000]}")
    return 1 if figures.findings else 0


def _told(figures: Figures) -> dict[str, object]:
    return {
        "cases": figures.cases,
        "requests read to their end": figures.requests,
        "bytes of bodies": figures.body_bytes,
        "refused": figures.refused,
        "refused by ours alone": dict(figures.refused_alone.most_common()),
        "accepted by ours alone": dict(figures.more_lenient.most_common()),
        "findings": len(figures.findings),
    }


def _show(wires: Wires, number: int) -> None:
    wire = wires.wire(number)
    print(wire)
    for reading in (asyncio.run(read_by_us([wire])), read_by_h11(wire), read_by_llhttp(wire)):
        print(reading)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz.reading", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=WHOLE, metavar="N", help=f"the number of cases ({WHOLE:,})")
    parser.add_argument(
        "--quick", dest="requests", action="store_const", const=QUICK, help=f"only {QUICK:,} cases: some seconds"
    )
    parser.add_argument("--seed", type=int, metavar="S", help="the seed of an earlier run, to repeat it (random)")
    parser.add_argument("--only", type=int, metavar="N", help="read and show only the case with this number")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
