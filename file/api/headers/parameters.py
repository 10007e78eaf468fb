r"""A header's value with its parameters (`form-data; name="file"`), read to its end or not at all (RFC 9110, 5.6.6).

What is read in part only gives another name than the one that was sent, so one byte too many makes the whole value
unreadable. Here is also what the value of a parameter may be: a token, a quoted string, the quoted string of a form
(WHATWG: `%22`, `%0D`, `%0A`), an extended value (RFC 8187), encoded words of mail (RFC 2047).
Knows no field and no error of ours: `None` stands for what cannot be read.
"""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

_LETTERS = r"!#$%&'*+\-.^_`|~0-9A-Za-z"
_QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'


def _pattern(unquoted: str) -> re.Pattern[str]:
    """One semicolon and the parameter after it, if there is one. Possessive: no value takes longer than its length."""
    parameter = rf'([{_LETTERS}]++)[ \t]*+=[ \t]*+("[^"\\]*+"|[{unquoted}]++|{_QUOTED})'
    return re.compile(rf"[ \t]*+;[ \t]*+(?:{parameter})?", re.DOTALL)


_STRICT = _pattern(_LETTERS)
_OF_CONTENT_TYPE = _pattern(_LETTERS + "(),/:=?")  # boundaries are often sent unquoted with these (RFC 2046, 5.1.1)
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_PAIR_IN_FORM = re.compile(r'\\(["\\])')

_CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
}
_EXTENDED = re.compile(r"([^']*)'[A-Za-z0-9-]*'((?:[!#$&+\-.^_`|~0-9A-Za-z]|%[0-9A-Fa-f]{2})*)")
_WORD = re.compile(r"=\?([^? ]+)\?([bBqQ])\?([^? ]*)\?=")
_QUOTED_PRINTABLE = re.compile(r"(?:[!-<>-~]|=[0-9A-Fa-f]{2})*")


def read_parameters(value: str, *, of_content_type: bool = False) -> tuple[str, dict[str, str]] | None:
    """What stands before the first `;`, and the parameters, both with names in lower case. Values stay as they were
    sent, a quoted one in its quotes. None if anything is left over, or a parameter is there twice.
    """
    pattern = _OF_CONTENT_TYPE if of_content_type else _STRICT
    value = value.rstrip(" \t")
    place = value.find(";")
    if place < 0:
        return value.lstrip(" \t").lower(), {}
    kind = value[:place].strip(" \t").lower()
    found: dict[str, str] = {}
    while place < len(value):
        match = pattern.match(value, place)
        if match is None:
            return None
        place = match.end()
        name, told = match.groups()
        if name is not None:
            name = name.lower()
            if name in found:
                return None
            found[name] = told
    return kind, found


def unquoted(value: str) -> str:
    """A token, or what a quoted string says (RFC 9110, 5.6.4)."""
    return _PAIR.sub(r"\1", value[1:-1]) if value.startswith('"') else value


def form_text(value: str, charset: str) -> str:
    r"""A token, or what a quoted string in a form says: `%22`, `%0D` and `%0A` of browsers, or `\"` of older clients.

    Any other `\` is one that was sent: browsers escape none. `value` holds a byte a letter.
    Raises `UnicodeDecodeError`.
    """
    if value.startswith('"'):
        value = value[1:-1]
        if "\\" in value:
            value = _PAIR_IN_FORM.sub(r"\1", value)
        elif "%" in value:
            value = value.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
    return value if value.isascii() else value.encode("latin-1").decode(charset)


def extended_text(value: str) -> str | None:
    """An extended value (RFC 8187), such as `UTF-8''r%C3%A9sum%C3%A9.pdf`."""
    match = _EXTENDED.fullmatch(value)
    return _decoded(unquote_to_bytes(match[2]), match[1]) if match else None


def without_words(text: str) -> str | None:
    """The text itself, or what it says if it is made of encoded words (RFC 2047), as .NET and Java write them."""
    words = list(_WORD.finditer(text)) if "=?" in text else []
    if not words:
        return text
    charsets = {word[1].lower() for word in words}
    if _WORD.sub("", text).strip(" \t") or len(charsets) > 1:
        return None
    content = bytearray()
    for _, letter, encoded in (word.groups() for word in words):
        piece = _from_base64(encoded) if letter in "bB" else _from_quoted_printable(encoded)
        if piece is None:
            return None
        content += piece
    return _decoded(bytes(content), charsets.pop())


def codec_of(charset: str) -> str | None:
    """Python's name for a character set, of the few that are read."""
    return _CHARSETS.get(charset.lower())


def _decoded(content: bytes, charset: str) -> str | None:
    codec = codec_of(charset)
    try:
        return content.decode(codec) if codec else None
    except UnicodeDecodeError:
        return None


def _from_base64(encoded: str) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        return None


def _from_quoted_printable(encoded: str) -> bytes | None:
    return binascii.a2b_qp(encoded, header=True) if _QUOTED_PRINTABLE.fullmatch(encoded) else None
