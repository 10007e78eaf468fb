"""Text that may do harm in a terminal, and what a line of the log must be with it."""

import json
from collections.abc import Iterable

# Controls (NEL and CSI among them), line separators, changes of direction, what has no glyph.
HARMFUL = "\x00\x1b\n\r\x7f\x85\x9b\u061c\u200b\u200e\u2028\u2029\u202a\u202e\u2066\u2069\ufeff\U000e0001"
FORGED = f'{HARMFUL}[31m{{"event":"forged","level":"info"}}'
LONGEST_LINE = 8192


def assert_harmless(lines: Iterable[str]) -> None:
    for line in lines:
        assert line.isprintable(), line[:300]
        assert json.loads(line)["event"] != "forged"
