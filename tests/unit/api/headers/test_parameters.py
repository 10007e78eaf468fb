"""Parameters of headers, as functions: what any name becomes when it is written in each of the ways, and read again."""

import base64
import string
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from file.api.headers.parameters import extended_text, form_text, read_parameters, without_words

# What can be a name: no control characters, no backslash.
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\\"), min_size=1)
TOKENS = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1)


def sent(value: str) -> str:
    """As the bytes arrive: a letter each."""
    return value.encode().decode("latin-1")


def parameter(header: str, name: str = "filename") -> str:
    read = read_parameters(header)
    assert read is not None
    kind, parameters = read
    assert kind == "form-data"
    assert parameters["name"] == '"file"'
    return parameters[name]


@given(name=NAMES)
def test_a_name_comes_back_when_it_is_written_as_browsers_do(name: str) -> None:
    written = sent(name.replace('"', "%22"))
    header = f'form-data; name="file"; filename="{written}"; x=y'
    assert form_text(parameter(header), "utf-8") == name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


@given(name=NAMES.map('a"{}'.format))
def test_a_name_comes_back_when_its_quotes_are_escaped(name: str) -> None:
    written = sent(name.replace('"', '\\"'))
    header = f'form-data; filename="{written}";\tname="file"'
    assert form_text(parameter(header), "utf-8") == name


@given(name=NAMES, language=st.sampled_from(["", "en", "en-GB"]))
def test_a_name_comes_back_when_it_is_an_extended_value(name: str, language: str) -> None:
    header = f"form-data; name=\"file\"; filename=x; filename*=UTF-8'{language}'{quote(name, safe='')}"
    assert extended_text(parameter(header, "filename*")) == name


@given(name=NAMES)
def test_a_name_comes_back_when_it_is_an_encoded_word(name: str) -> None:
    base_64 = base64.b64encode(name.encode()).decode()
    printable = "".join("_" if byte == 0x20 else f"={byte:02X}" for byte in name.encode())
    for word in (f"=?utf-8?B?{base_64}?=", f"=?UTF-8?q?{printable}?="):
        header = f'form-data; name="file"; filename="{word}"'
        assert without_words(form_text(parameter(header), "utf-8")) == name


@given(name=TOKENS)
def test_a_token_is_itself_when_it_stands_without_quotes(name: str) -> None:
    assert form_text(parameter(f'form-data;name="file";filename={name}'), "utf-8") == name


@given(value=st.text(st.characters(max_codepoint=255)))
def test_nothing_is_dropped_when_a_value_can_be_read(value: str) -> None:
    """Written anew from what was read, a value is the one that was sent, but for white space and empty parameters."""
    header = f"form-data; {value}"
    read = read_parameters(header)
    if read is not None:
        kind, parameters = read
        again = ";".join((kind, *(f"{name}={each}" for name, each in parameters.items())))
        assert letters(again) == letters(header)


def letters(value: str) -> str:
    return value.lower().replace(" ", "").replace("\t", "").replace(";", "")
