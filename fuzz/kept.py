"""Stores the files that exist from the start, so that many reads succeed."""

import hashlib
import json
import random

from fuzz.ingredients import KEPT
from soak.examination import Asking

_SIZES = (0, 1, 2, 100, 4_095, 4_096, 4_097, 5_000, 65_535, 65_536, 65_537, 70_000, 100_000, 262_144, 1_048_576, 9)


def store_kept_files(asking: Asking, seed: int) -> dict[str, str]:
    """The SHA-256 of each file by its id, in the order of their keys."""
    chance = random.Random(f"{seed} kept")
    stored = {}
    for number, size in zip(range(KEPT), _SIZES, strict=True):
        content = chance.randbytes(size)
        status, body = asking.ask_once("PUT", f"/files/kept/{number:02}", content)
        assert status == 201, body
        receipt = json.loads(body)
        assert receipt["sha256"] == hashlib.sha256(content).hexdigest()
        stored[receipt["id"]] = receipt["sha256"]
    return stored
