"""Our reader against the judges: where it is more lenient than one of them, and what it alone refuses.

Differences that are no leniency are leveled here: our server takes the host out of an absolute target, as RFC 9112,
3.2.2, wants it, and does not tell an empty query from none; h11 writes codings in lower case.
"""

import re
from collections.abc import Iterator, Sequence

from fuzz.judges import Fields, Message, Reading

_ABSOLUTE = re.compile(rb"https?://([^/?]*)([^?]*)\??(.*)", re.IGNORECASE | re.DOTALL)


def leniencies(ours: Reading, judge: Reading, name: str) -> Iterator[str]:
    """What our reader accepts and the judge refuses, or reads as something else. There must be nothing."""
    for number, message in enumerate(ours.messages):
        if number >= len(judge.messages):
            yield f"accepts {line_of(message)}, which {name} does not: {judge.refusal}"
            return
        yield from (f"{text}, says {name}" for text in _differences(message, judge.messages[number], ours, name))
    if ours.waits and len(judge.messages) > len(ours.messages):
        yield f"waits for the end of {line_of(judge.messages[len(ours.messages)])}, which {name} has read"


def refused_alone(ours: Reading, judges: Sequence[Reading]) -> Message | None:
    """The request that our reader refuses and all judges accept, as the first of them reads it."""
    if ours.refusal is None:
        return None
    in_body = bool(ours.messages) and not ours.messages[-1].is_whole
    number = len(ours.messages) - in_body
    accepted = [judge.messages[number] for judge in judges if len(judge.messages) > number]
    if len(accepted) < len(judges) or (in_body and not all(message.is_whole for message in accepted)):
        return None
    return accepted[0]


def _differences(ours: Message, theirs: Message, reading: Reading, name: str) -> Iterator[str]:
    line = line_of(ours)
    if (ours.method, ours.version) != (theirs.method, theirs.version):
        yield f"reads {line} in {ours.version!r}: it is {line_of(theirs)} in {theirs.version!r}"
    if (ours.target, _leveled(ours.fields)) != _without_host(theirs):
        yield f"reads {line} with {ours.fields}: it is {line_of(theirs)} with {theirs.fields}"
    if ours.is_whole and not theirs.is_whole:
        yield f"has found an end of the body of {line} that is none"
    if theirs.is_whole and not ours.is_whole and reading.waits:
        yield f"waits for the end of the body of {line}, which is over"
    longest, other = sorted((ours.body, theirs.body), key=len, reverse=True)
    if longest != other if ours.is_whole else not longest.startswith(other):
        yield f"reads the body {ours.body[:200]!r} of {line}: it is {theirs.body[:200]!r}"
    if ours.is_whole and ours.keeps and not theirs.keeps:
        yield f"keeps the connection after {line}, which closes it"


def _without_host(message: Message) -> tuple[bytes, Fields]:
    """Its target and its fields, as our server tells them."""
    found = _ABSOLUTE.fullmatch(message.target)
    if found is None:
        path, _, query = message.target.partition(b"?")
        fields = message.fields
    else:
        host, path, query = found.groups()
        fields = tuple((name, host if name == b"host" else value) for name, value in message.fields)
    return (path or b"/") + (b"?" + query if query else b""), _leveled(fields)


def _leveled(fields: Fields) -> Fields:
    return tuple((name, value.lower() if name == b"transfer-encoding" else value) for name, value in fields)


def line_of(message: Message) -> str:
    return f"{message.method[:40]!r} {message.target[:80]!r}"
