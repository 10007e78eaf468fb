"""Names and keys: accepted ones can be stored, listed and signed; the rest is refused with a reason."""

import re
import string
import time
import unicodedata
import uuid
from urllib.parse import quote, unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from file.logic.errors import FilenameRefusedError, KeyRefusedError, MetadataRefusedError
from file.logic.naming import (
    MAX_NAME_BYTES,
    check_metadata,
    check_name,
    encode_name,
    key_for,
    key_from_path,
    name_of,
    new_file_id,
)
from file.logic.values import FILE_ID, FILE_NAME, FILE_SHA256, MAX_KEY_BYTES, MAX_METADATA_BYTES

# These texts are near the rules' limits more often than random ones; lone surrogates are among them.
TEXTS = st.one_of(
    st.text(),
    st.text(st.sampled_from("./\\ -%+?#\0\n\x7f\x85\ufffe\uffff\ud800üñ空🗂a\u0301")),
    st.text(st.characters(), min_size=60),
)
PATHS = st.one_of(
    st.binary(),
    TEXTS.map(lambda text: quote(text, errors="surrogatepass").encode()),
    st.text(st.sampled_from("%0123456789abcdefABCDEF./+ü")).map(str.encode),
)
OURS = {FILE_ID: new_file_id(), FILE_NAME: "x" * 3 * MAX_NAME_BYTES, FILE_SHA256: "0" * 64}


def accepted_key(raw: bytes, prefix_bytes: int = 0) -> str | None:
    try:
        return key_from_path(raw, longest_prefix_bytes=prefix_bytes)
    except KeyRefusedError:
        return None


def assert_storable(key: str, room: int = MAX_KEY_BYTES) -> None:
    assert 0 < len(key.encode()) <= room
    assert not key.endswith("/")
    assert not {".", ".."} & set(key.split("/"))
    assert not any(unicodedata.category(character) == "Cc" for character in key)
    # S3 lists keys in XML 1.0: what it cannot carry cannot be cleaned up.
    element = ElementTree.Element("Key")
    element.text = key
    assert ElementTree.fromstring(ElementTree.tostring(element, encoding="utf-8")).text == key


@given(TEXTS)
def test_the_name_can_be_kept_when_it_is_accepted(text: str) -> None:
    try:
        name = check_name(text)
    except FilenameRefusedError:
        return
    assert name == unicodedata.normalize("NFC", text) == check_name(name)
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert not re.search(r"[\x00-\x1f\x7f-\x9f/\\]", name)
    kept = encode_name(name)
    assert re.fullmatch(r"[!-~]+", kept)  # what a header and a signature leave alone
    assert unquote(kept) == name
    check_metadata({}, ours={**OURS, FILE_NAME: kept})


@given(TEXTS)
def test_the_key_is_accepted_by_our_own_rules_when_it_was_made_of_a_name(text: str) -> None:
    try:
        name = check_name(text)
    except FilenameRefusedError:
        return
    key = key_for(name)
    assert re.fullmatch(r"[0-9]+-[a-z2-9]{6}-[A-Za-z0-9_][A-Za-z0-9._-]*", key)
    assert not key.endswith((".", "-"))
    assert accepted_key(key.encode(), MAX_KEY_BYTES // 2) == key
    assert_storable(key, MAX_KEY_BYTES // 2)


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("report.pdf", "report.pdf"),
        ("Bericht für März.pdf", "Bericht-fur-Marz.pdf"),
        ("空.txt", "file.txt"),
        ("my report (final).tar.gz", "my-report-final.tar.gz"),
        ("a.", "a"),
        ("空", "file"),
        (".profile", "profile"),
        ("x" * 200 + ".tar.gz", "x" * 80 + ".gz"),
        ("x" * 200, "x" * 80),
        ("a." + "y" * 100, "a." + "y" * 19),
    ],
)
def test_the_key_contains_the_name_in_a_readable_form(name: str, ending: str) -> None:
    before = int(time.time())
    seconds, slug, cleaned = key_for(name).split("-", 2)
    assert cleaned == ending
    assert before <= int(seconds) <= time.time()
    assert len(slug) == 6


def test_keys_differ_when_names_are_the_same() -> None:
    assert len({key_for("report.pdf") for _ in range(1000)}) > 990


@given(PATHS, st.integers(0, 512))
def test_the_key_can_be_stored_when_its_path_is_accepted(raw: bytes, prefix_bytes: int) -> None:
    key = accepted_key(raw, prefix_bytes)
    if key is None:
        return
    assert_storable(key, MAX_KEY_BYTES - prefix_bytes)
    for safe in ("/", ""):
        assert accepted_key(quote(key, safe).encode(), prefix_bytes) == key
    name = name_of(key)
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert unquote(encode_name(name)) == name
    assert key.rsplit("/", 1)[-1].startswith(name)


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff/"), min_size=1, max_size=250
    )
)
def test_the_key_is_the_decoded_path_when_no_rule_forbids_it(key: str) -> None:
    assert accepted_key(quote(key, safe="").encode()) == (None if key in {".", ".."} else key)


@given(st.binary(min_size=1, max_size=8))
def test_two_spellings_are_not_one_key_when_one_is_no_utf_8(raw: bytes) -> None:
    key = accepted_key(quote(raw, safe="").encode())
    assert key is None or key.encode() == raw


METADATA = st.dictionaries(
    st.text(string.ascii_lowercase + "-_.ü ", max_size=10), st.text(max_size=60) | st.text(string.printable), max_size=5
)


@given(METADATA)
def test_the_metadata_can_be_sent_when_it_is_accepted(metadata: dict[str, str]) -> None:
    try:
        check_metadata(metadata, ours=OURS)
    except MetadataRefusedError:
        return
    for name, value in metadata.items():
        assert re.fullmatch(r"[a-z._-]+", name)
        assert not name.startswith("mentum-")
        assert re.fullmatch(r"[ -~]*", value)


def test_the_metadata_is_refused_when_it_is_one_byte_over_what_stores_take() -> None:
    room = MAX_METADATA_BYTES - sum(len(name) + len(value) for name, value in OURS.items())
    check_metadata({"a": "x" * (room - 1)}, ours=OURS)
    with pytest.raises(MetadataRefusedError, match=rf"more than {room} bytes"):
        check_metadata({"a": "x" * room}, ours=OURS)


def test_ids_are_unique_and_sorted_by_time_when_files_come() -> None:
    ids = [new_file_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(uuid.UUID(text).version == 7 and uuid.UUID(text).variant == uuid.RFC_4122 for text in ids)
    assert [text[:13] for text in ids] == sorted(text[:13] for text in ids)
