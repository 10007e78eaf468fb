"""Whether a secret in a setting can be guessed: too short, or of too little variety. No answer shows the secret.

What is random passes: of 10,000 random texts of hexadecimal digits fewer than one is refused. What a person makes up
may pass as well; nobody can tell that.
"""

from collections import Counter
from itertools import pairwise

EXAMPLES = frozenset(("put-a-long-random-text-here", "put-50-or-more-random-characters-here"))  # of .env.example
_MADE_BY_STARTPROJECT = "django-insecure-"


def guess_fault(secret: str, minimum: int) -> str | None:
    """The end of a sentence that begins with the secret, or None. Characters are not enough: pairs of them tell more
    about words that are repeated, and steps from one to the next about alphabets and numbers.
    """
    if secret in EXAMPLES or secret.startswith(_MADE_BY_STARTPROJECT):
        return "is an example that everybody can read; make a random one"
    if len(secret) < minimum:
        return f"is shorter than {minimum} characters"
    neighbours = list(pairwise(secret))
    if len(set(neighbours)) < minimum // 2 + 2:
        return "repeats a few characters or words, and can be guessed; make a random one"
    (_, often), *_ = Counter(ord(after) - ord(before) for before, after in neighbours).most_common(1)
    if often > len(neighbours) / 2:
        return "counts up or down, and can be guessed; make a random one"
    return None
