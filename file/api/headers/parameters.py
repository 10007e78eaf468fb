r"""A header's value with its parameters (`form-data; name="file"`), parsed completely or not at all (RFC 9110, 5.6.6).

A value that is parsed in part gives another name than the one that was sent, so one extra byte makes the whole value
invalid. The value of a parameter may be: a token, a quoted string, the quoted string of a form (WHATWG: `%22`, `%0D`,
`%0A`), an extended value (RFC 8187), encoded words of mail (RFC 2047).
Knows no field and no error of ours: `None` means that a value cannot be parsed.
"""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

_LETTERS = r"!#$%&'*+\-.^_`|~0-9A-Za-z"
_QUOTED = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'


def _pattern(unquoted: str) -> re.Pattern[str]:
    """One semicolon and the parameter after it, if there is one. Possessive: the time is linear in the length."""
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
    """The text before the first `;` in lower case, and the parameters. Values stay as sent, with their quotes.

    None if the header is not well-formed, or if a parameter is repeated.
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
        name, text = match.groups()
        if name is not None:
            name = name.lower()
            if name in found:
                return None
            found[name] = text
    return kind, found


def unquoted(value: str) -> str:
    """A token, or the content of a quoted string (RFC 9110, 5.6.4)."""
    return _PAIR.sub(r"\1", value[1:-1]) if value.startswith('"') else value


def form_text(value: str, charset: str) -> str:
    r"""A token, or the content of a quoted string in a form: `%22`, `%0D` and `%0A` of browsers, `\"` of older clients.

    Any other `\` is part of the text: browsers do not escape it. `value` has one letter per byte.
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
    """The text, decoded if it consists of encoded words (RFC 2047), as .NET and Java send them."""
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
    """Python's name for a charset, None if it is not supported."""
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
