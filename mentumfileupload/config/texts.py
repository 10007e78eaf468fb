"""What all readers of variables share: faults, quotes around a value, JSON objects, and names that may be shown.

Promises: a fault never shows a value. It shows the name of a key only if that looks like a key and not like a secret.
"""

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# A key that a fault may repeat. A secret that was pasted into the wrong place does not look like this.
_SHOWABLE_KEY = re.compile(r"[A-Za-z][A-Za-z_-]{0,30}", re.ASCII)


class Fault(ValueError):  # noqa: N818 - not an error of the program
    """What is wrong with the value of a variable. Each argument ends a sentence that begins with its name."""


def read_text_file(path: str) -> str:
    """The file's text, without the byte order mark that some editors write."""
    return Path(path).read_text(encoding="utf-8-sig")


def without_outer_quotes(text: str) -> str:
    """`text` as django-environ reads it from a .env file: docker's --env-file leaves the quotes around a value."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", lambda found: found[0] if found[1] in "rnt" else found[1], text[1:-1])
    return text


def read_json_object(text: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises `Fault`, whose reason shows nothing of the text but the name of a key."""
    try:
        found = json.loads(without_outer_quotes(text), object_pairs_hook=_without_repetition)
    except Fault:
        raise
    except json.JSONDecodeError as error:
        # The part of the decoder's message behind a colon would be a piece of the value.
        reason = error.msg.partition(":")[0]
        raise Fault(f"is not valid JSON: line {error.lineno}, column {error.colno}: {reason}") from None
    except (ValueError, RecursionError):
        raise Fault("is JSON that cannot be read: it has a number that is too long, or is too deeply nested") from None
    if not isinstance(found, dict):
        raise Fault("must be a JSON object, in braces")
    return found


def show_key(key: str) -> str:
    return f"the key {key!r}" if _SHOWABLE_KEY.fullmatch(key) else "a key (not shown, because it may be a secret)"


def nearest(word: str, known: Iterable[str]) -> str:
    """The most similar of the known words."""
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)[0]


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Fault(f"has {show_key(key)} more than once")
        found[key] = value
    return found
