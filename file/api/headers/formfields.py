"""The headers of a form's field: the field's name, the file's name, and how to decode the value.

A header is parsed completely, or refused: a header that is parsed in part gives the file another name, and a value with
a transfer encoding has other bytes than the client's file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from file.api.headers.contentheaders import check_transfer_encoding
from file.api.headers.parameters import codec_of, extended_text, form_text, read_parameters, unquoted, without_words
from file.logic.errors import EncodingRefusedError, FilenameRefusedError, MalformedFormError

_DISPOSITION, _TYPE, _TRANSFER = "Content-Disposition", "Content-Type", "Content-Transfer-Encoding"
_READ = frozenset((_DISPOSITION, _TYPE, _TRANSFER))
_TEXT = frozenset(("", "text/plain", "application/octet-stream"))


@dataclass(frozen=True, slots=True)
class Field:
    """`name` is None if it cannot be decoded: no field of ours. `charset` is that of the form's names."""

    name: str | None
    content_type: str | None
    charset: str
    parameters: Mapping[str, str]

    @property
    def has_empty_filename(self) -> bool:
        """A browser sends this when no file was chosen."""
        return self.parameters.get("filename") == '""' and "filename*" not in self.parameters

    @property
    def value_charset(self) -> str:
        """Of a text value. Raises `MalformedFormError`, `EncodingRefusedError`."""
        if self.content_type is None:
            return self.charset
        read = read_parameters(self.content_type, of_content_type=True)
        if read is None:
            raise MalformedFormError(f"The header Content-Type of the field `{self.name}` cannot be parsed: {ADVICE}")
        kind, parameters = read
        if kind not in _TEXT:
            raise EncodingRefusedError(f"The field `{self.name}` does not have the type text/plain.")
        return text_codec(parameters, f"the field `{self.name}`") or self.charset

    def filename(self) -> str | None:
        """The file's name, if the header carries one: `filename*`, else `filename`.

        Raises `MalformedFormError`, `FilenameRefusedError`.
        """
        if any(key.startswith("filename*") and key != "filename*" for key in self.parameters):
            raise MalformedFormError("The file's name is split into filename*0, filename*1 and so on: send filename*.")
        extended = self.parameters.get("filename*")
        if extended is not None:
            name = extended_text(extended)
            if name is None:
                raise MalformedFormError(
                    "The parameter filename* does not have the form of RFC 8187: UTF-8'' and the percent-encoded name, "
                    "without quotes."
                )
            return name
        sent = self.parameters.get("filename")
        if sent is None:
            return None
        try:
            name = without_words(form_text(sent, self.charset))
        except UnicodeDecodeError:
            raise MalformedFormError(
                "The parameter filename of the field `file` is not UTF-8. Send it in UTF-8, or send a field `filename`."
            ) from None
        if name is None:
            raise FilenameRefusedError(
                "The parameter filename of the field `file` has an encoded word (RFC 2047) that cannot be decoded. "
                "Send the name in UTF-8, or send a field `filename`."
            )
        return name


ADVICE = (
    "put a value with spaces or special characters in quotes, write a quote inside it as %22, and send each "
    "parameter once."
)


def field_of(headers: Iterable[tuple[str, str]], charset: str) -> Field:
    """From a field's headers, one letter per byte. Raises `MalformedFormError`, `EncodingRefusedError`."""
    found: dict[str, str] = {}
    for header, value in headers:
        if header in _READ:
            if header in found:
                raise MalformedFormError(f"A field of the form has the header {header} more than once.")
            found[header] = value
    read = read_parameters(found.get(_DISPOSITION, ""))
    if read is None:
        raise MalformedFormError(f"The header Content-Disposition of a field cannot be parsed: {ADVICE}")
    if _TRANSFER in found:
        check_transfer_encoding(found[_TRANSFER])
    parameters = read[1]
    return Field(_name(parameters), found.get(_TYPE), charset, parameters)


def text_codec(parameters: Mapping[str, str], whose: str) -> str | None:
    """Python's name for the charset in these parameters, None without one. Raises `EncodingRefusedError`."""
    charset = parameters.get("charset")
    if charset is None:
        return None
    codec = codec_of(unquoted(charset))
    if codec is None:
        raise EncodingRefusedError(f"The charset of {whose} is not UTF-8, US-ASCII or ISO-8859-1.")
    return codec


def _name(parameters: Mapping[str, str]) -> str | None:
    """None if it cannot be decoded: the names of our fields are ASCII."""
    if "name*" in parameters:
        return extended_text(parameters["name*"])
    try:
        return form_text(parameters.get("name", ""), "utf-8")
    except UnicodeDecodeError:
        return None
