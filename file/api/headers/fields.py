"""What the headers of a form's field say: its name, the file's name, and how its value is to be read.

Read to the end, or refused: a header that is read in part gives the file another name, and a value that was encoded
for the way is other bytes than the client's file.
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
    """`name` is None where it is none of ours. `charset` is that of the form's names."""

    name: str | None
    content_type: str | None
    charset: str
    parameters: Mapping[str, str]

    @property
    def has_empty_filename(self) -> bool:
        """So a browser sends a field for files in which none was chosen."""
        return self.parameters.get("filename") == '""' and "filename*" not in self.parameters

    @property
    def value_charset(self) -> str:
        """Of a value that is text. Raises `MalformedFormError`, `EncodingRefusedError`."""
        if self.content_type is None:
            return self.charset
        read = read_parameters(self.content_type, of_content_type=True)
        if read is None:
            raise MalformedFormError(
                f"The header Content-Type of the field `{self.name}` cannot be read to its end: {CURE}"
            )
        kind, parameters = read
        if kind not in _TEXT:
            raise EncodingRefusedError(f"The field `{self.name}` is not of the type text/plain.")
        return text_codec(parameters, f"the field `{self.name}`") or self.charset

    def filename(self) -> str | None:
        """The file's name, if the header carries one: `filename*`, else `filename`.

        Raises `MalformedFormError`, `FilenameRefusedError`.
        """
        if any(key.startswith("filename*") and key != "filename*" for key in self.parameters):
            raise MalformedFormError("The file's name is cut into filename*0, filename*1 and so on: send filename*.")
        extended = self.parameters.get("filename*")
        if extended is not None:
            name = extended_text(extended)
            if name is None:
                raise MalformedFormError(
                    "The parameter filename* is not of the form that RFC 8187 gives it: UTF-8'' and the name, "
                    "percent-encoded, without quotes."
                )
            return name
        sent = self.parameters.get("filename")
        if sent is None:
            return None
        try:
            name = without_words(form_text(sent, self.charset))
        except UnicodeDecodeError:
            raise MalformedFormError(
                "The parameter filename of the field `file` is not UTF-8: send it in UTF-8, or send a field `filename`."
            ) from None
        if name is None:
            raise FilenameRefusedError(
                "The parameter filename of the field `file` has an encoded word (RFC 2047) that cannot be read: send "
                "it in UTF-8, or send a field `filename`."
            )
        return name


CURE = (
    "put a value that has spaces or special characters in quotes, write a quote inside it as %22, and send no "
    "parameter twice."
)


def field_of(headers: Iterable[tuple[str, str]], charset: str) -> Field:
    """From a field's headers, a byte a letter. Raises `MalformedFormError`, `EncodingRefusedError`."""
    found: dict[str, str] = {}
    for header, value in headers:
        if header in _READ:
            if header in found:
                raise MalformedFormError(f"A field of the form has the header {header} twice.")
            found[header] = value
    read = read_parameters(found.get(_DISPOSITION, ""))
    if read is None:
        raise MalformedFormError(f"The header Content-Disposition of a field cannot be read to its end: {CURE}")
    if _TRANSFER in found:
        check_transfer_encoding(found[_TRANSFER])
    parameters = read[1]
    return Field(_name(parameters), found.get(_TYPE), charset, parameters)


def text_codec(parameters: Mapping[str, str], whose: str) -> str | None:
    """Of the charset among these parameters, if there is one. Raises `EncodingRefusedError`."""
    charset = parameters.get("charset")
    if charset is None:
        return None
    codec = codec_of(unquoted(charset))
    if codec is None:
        raise EncodingRefusedError(f"The charset of {whose} is not UTF-8, US-ASCII or ISO-8859-1.")
    return codec


def _name(parameters: Mapping[str, str]) -> str | None:
    """Ours are ASCII: what cannot be decoded is none of them."""
    if "name*" in parameters:
        return extended_text(parameters["name*"])
    try:
        return form_text(parameters.get("name", ""), "utf-8")
    except UnicodeDecodeError:
        return None
