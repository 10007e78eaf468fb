"""Whether a secret in a setting can be guessed: it is too short, or too regular. No reason shows the secret.

Random secrets pass: fewer than one of 10,000 random texts of hexadecimal digits is refused. A secret that a person made
up may pass too; this check cannot find it out.
"""

from collections import Counter
from itertools import pairwise

EXAMPLES = frozenset(("put-a-long-random-text-here", "put-50-or-more-random-characters-here"))  # of .env.example
_MADE_BY_STARTPROJECT = "django-insecure-"


def guess_fault(secret: str, minimum: int) -> str | None:
    """The end of a sentence that begins with the secret, or None.

    Pairs of characters show repeated words, and the steps between characters show alphabets and numbers.
    """
    if secret in EXAMPLES or secret.startswith(_MADE_BY_STARTPROJECT):
        return "is an example that everyone can read; use a random one"
    if len(secret) < minimum:
        return f"is shorter than {minimum} characters"
    neighbours = list(pairwise(secret))
    if len(set(neighbours)) < minimum // 2 + 2:
        return "repeats a few characters or words, and can be guessed; use a random one"
    (_, often), *_ = Counter(ord(after) - ord(before) for before, after in neighbours).most_common(1)
    if often > len(neighbours) / 2:
        return "counts up or down, and can be guessed; use a random one"
    return None
