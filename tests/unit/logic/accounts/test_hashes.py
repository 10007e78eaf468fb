"""The hashes of account names in the metadata of objects."""

import pytest

from file.logic.accounts.hashes import AccountHashes
from file.logic.errors import MetadataRefusedError
from file.logic.metadata import describe
from file.logic.naming import new_file_id
from file.logic.values import FILE_ACCOUNT_HASHES, MAX_METADATA_BYTES, Identity, IncomingFile
from tests.flow import HASHES, chunks_of

FILE = "0193d7a0-0000-7000-8000-000000000001"


def test_the_names_are_found_when_the_key_is_known() -> None:
    before, after = AccountHashes([b"former"]), AccountHashes([b"new", b"former"])
    for writing, reading in ((before, before), (before, after), (after, after)):
        hashes = writing.of(FILE, ["B", "A"]).split(",")
        assert {reading.names(FILE, ["A", "B", "C"])[each] for each in hashes} == {"A", "B"}
    assert not set(after.of(FILE, ["A"]).split(",")) & before.names(FILE, ["A"]).keys()


def test_hashes_differ_per_file_and_show_nothing_when_the_key_is_not_known() -> None:
    one, other = (HASHES.of(file_id, ["A", "B"]).split(",") for file_id in (FILE, new_file_id()))
    assert not set(one) & set(other)
    assert HASHES.of(FILE, ["B", "A"]) == HASHES.of(FILE, ["A", "B"])
    assert {len(each) for each in one} == {16}
    assert "key of the tests" not in repr(HASHES)


def test_a_file_is_refused_before_a_byte_is_sent_when_the_metadata_has_no_room_for_its_accounts() -> None:
    def metadata_for(count: int) -> int:
        file = IncomingFile(id=FILE, chunks=chunks_of(b""), identify=lambda: identity, size=0, who="tests")
        names = [f"{number}{'N' * 60}" for number in range(count)]
        described = describe(file, identity, names, bytes(32), FILE, HASHES).metadata
        assert len(described[FILE_ACCOUNT_HASHES]) == 17 * count - 1
        return sum(len(name) + len(value) for name, value in described.items())

    identity = Identity("k", "k")
    assert metadata_for(100) <= MAX_METADATA_BYTES  # with the names themselves it would be 6 KB
    with pytest.raises(MetadataRefusedError):
        metadata_for(120)
