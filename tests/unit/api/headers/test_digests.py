"""Headers that declare a digest, as they are read: each is one that will be compared, or refused by name."""

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from file.api.headers.digests import declared_digests
from file.logic.errors import DigestRefusedError
from file.logic.values import DeclaredDigest

SHA256, OTHER = (hashlib.sha256(text).digest() for text in (b"text", b"other"))
SHA512, MD5, SHA1 = (hashlib.new(name, b"text").digest() for name in ("sha512", "md5", "sha1"))
CRC32C = bytes.fromhex("0a72a4df")


def text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def read(*headers: str) -> dict[str, bytes]:
    """Algorithm to digest."""
    fields = [header.partition(": ") for header in headers]
    return {
        each.algorithm: each.digest
        for each in declared_digests((n.encode(), v.encode("latin-1")) for n, _, v in fields)
    }


@pytest.mark.parametrize(
    ("header", "algorithm", "digest"),
    [
        (f"content-digest: sha-256=:{text(SHA256)}:", "sha-256", SHA256),
        (f"repr-digest: sha-512=:{text(SHA512)}:", "sha-512", SHA512),
        (f"content-digest: md5=:{text(MD5)}:", "md5", MD5),
        (f"content-digest: sha=:{text(SHA1)}:", "sha-1", SHA1),
        (f"content-digest: crc32c=:{text(CRC32C)}:", "crc32c", CRC32C),
        (f"content-digest:   sha-256=:{text(SHA256)}:  ", "sha-256", SHA256),
        (f"content-digest: sha-256=:{text(SHA256)}:;a=1;b", "sha-256", SHA256),
        (f"content-digest: sha-256=:{text(OTHER)}:, sha-256=:{text(SHA256)}:", "sha-256", SHA256),  # the last one
        (f"content-digest: sha-256=?0 ,\tsha-256=:{text(SHA256)}:", "sha-256", SHA256),
        (f"content-md5: {text(MD5)}", "md5", MD5),
        (f"digest: SHA-256={text(SHA256)}", "sha-256", SHA256),
        (f"digest: sha-512={text(SHA512)}", "sha-512", SHA512),
        (f"digest: md5={text(MD5)}", "md5", MD5),
        (f"digest: SHA={text(SHA1)}", "sha-1", SHA1),
        ("digest: CRC32c=A72A4DF", "crc32c", CRC32C),
        (f"digest: , sha-256={text(SHA256)} ,", "sha-256", SHA256),
        (f"x-amz-checksum-crc32: {text(CRC32C)}", "crc32", CRC32C),
        (f"x-amz-checksum-crc32c: {text(CRC32C)}", "crc32c", CRC32C),
        (f"x-amz-checksum-crc64nvme: {text(2 * CRC32C)}", "crc64nvme", 2 * CRC32C),
        (f"x-amz-checksum-md5: {text(MD5)}", "md5", MD5),
        (f"x-amz-checksum-sha1: {text(SHA1)}", "sha-1", SHA1),
        (f"x-amz-checksum-sha256: {text(SHA256)}", "sha-256", SHA256),
        (f"x-amz-checksum-sha512: {text(SHA512)}", "sha-512", SHA512),
        (f"x-amz-content-sha256: {SHA256.hex()}", "sha-256", SHA256),
        (f"x-amz-content-sha256: {SHA256.hex().upper()}", "sha-256", SHA256),
    ],
)
def test_a_digest_is_taken_when_it_can_be_checked(header: str, algorithm: str, digest: bytes) -> None:
    assert read("host: x", header, "content-type: text/plain") == {algorithm: digest}


@pytest.mark.parametrize(
    "header",
    [
        *["host: x", "content-digest: ", "want-content-digest: sha-256=1", "x-amz-content-sha256: UNSIGNED-PAYLOAD"],
        *["x-amz-checksum-type: FULL_OBJECT", "trailer: Server-Timing, Expires", "trailer: "],
    ],
)
def test_nothing_is_taken_when_nothing_is_declared(header: str) -> None:
    assert read(header) == {}


@pytest.mark.parametrize(
    "headers",
    [
        [f"content-digest: sha-256=:{text(OTHER)}:", f"content-digest: sha-256=:{text(SHA256)}:"],  # one dictionary
        [f"content-md5: {text(MD5)}", f"x-amz-content-sha256: {SHA256.hex()}", f"content-md5: {text(MD5)} "],
        [f"repr-digest: md5=:{text(MD5)}:", f"content-digest: sha-256=:{text(SHA256)}:", f"content-md5: {text(MD5)}"],
        ["x-amz-sdk-checksum-algorithm: SHA256", f"x-amz-checksum-sha256: {text(SHA256)}"],
        [
            f"x-amz-checksum-sha256: {text(SHA256)}",
            "x-amz-checksum-algorithm: sha256",
            "x-amz-checksum-type: FULL_OBJECT",
        ],
    ],
)
def test_all_headers_count_when_they_agree(headers: list[str]) -> None:
    found = read(*headers)
    assert "sha-256" in found
    assert found.items() <= {"sha-256": SHA256, "md5": MD5}.items()


MANY = 10_000 * "a"


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        *[
            ([f"content-digest: {value}"], "Content-Digest")
            for value in (
                *("sha-256", "sha-256=", "sha-256=::", "sha-256=:YWJj:", "sha-256=abc", "sha-256=:!!!!:", "sha-256=1"),
                *(f"sha-256={SHA256.hex()}", f"sha-256=:{SHA256.hex()}:", f'sha-256="{text(SHA256)}"', "sha-256=?1"),
                *(f"sha-256={text(SHA256)}", f"SHA-256=:{text(SHA256)}:", f"sha-256=(:{text(SHA256)}:)", "sha-256;a=1"),
                *(f"sha-256 = :{text(SHA256)}:", f"sha-256=:{text(SHA256)}:,", f"sha-256=:{text(SHA256)}: x"),
                *(f"sha-256=:{text(SHA256)}:;A=1", f"foo-sha-256=:{text(SHA256)}:", f"xsha-256=:{text(SHA256)}:"),
                *("sha-512=:YWJj:", "md5=:YWJj:", "unixsum=30637", "adler=:YWJj:", "nonsense", ",", "ü", MANY),
                *(f"sha-256=:{text(SHA256)}:, sha-256=:YWJj:", f"sha-256=:{text(SHA256)}:, unixcksum=1"),
                f"sha-512-256=:{text(SHA256)}:",
            )
        ],
        *[
            ([f"content-md5: {value}"], "Content-MD5")
            for value in ("", "YWJj", MD5.hex(), f":{text(MD5)}:", text(MD5) + "!", text(SHA256), "ü")
        ],
        *[
            ([f"digest: {value}"], "Digest")
            for value in (
                *("sha-256", "sha-256=", f"sha-256=:{text(SHA256)}:", f"sha-256={SHA256.hex()}", "unixsum=30637"),
                *(f"crc32c={digits}" for digits in ("xyz", "", "123456789", "-1", "0x1")),
                *("adler32=1", "nonsense", "ü=1"),
                *(f"id-sha-256={text(SHA256)}", f"sha-256={text(SHA256)};a=1"),
                f"sha-256={text(SHA256)},unixsum=30637",
            )
        ],
        (["x-amz-checksum-crc32: YWJj"], "x-amz-checksum-crc32"),
        ([f"x-amz-checksum-sha256: {text(SHA256)}-3"], "x-amz-checksum-sha256"),  # a checksum of checksums
        ([f"x-amz-checksum-sha256: {SHA256.hex()}"], "x-amz-checksum-sha256"),
        (["x-amz-checksum-xxhash64: YWJjYWJjYWI="], "x-amz-checksum-xxhash64"),
        (["x-amz-checksum-: YWJj"], "x-amz-checksum-"),
        (["x-amz-checksum-" + MANY + ": YWJj"], "x-amz-checksum-"),
        (["x-amz-checksum-type: COMPOSITE"], "x-amz-checksum-type"),
        (["x-amz-sdk-checksum-algorithm: CRC32"], "x-amz-checksum-crc32"),
        (["x-amz-checksum-algorithm: CRC32", f"x-amz-checksum-sha256: {text(SHA256)}"], "x-amz-checksum-algorithm"),
        (["x-amz-sdk-checksum-algorithm: XXHASH3"], "x-amz-sdk-checksum-algorithm"),
        (["x-amz-content-sha256: abc"], "x-amz-content-sha256"),
        ([f"x-amz-content-sha256: {text(SHA256)}"], "x-amz-content-sha256"),
        (["x-amz-trailer: x-amz-checksum-crc32"], "x-amz-trailer"),
        (["trailer: Server-Timing, Content-Digest"], "Trailer"),
        (["trailer: X-Amz-Checksum-Crc32c"], "Trailer"),
        ([f"content-md5: {text(MD5)}", f"content-md5: {text(OTHER[:16])}"], "Content-MD5"),
        ([f"content-md5: {text(MD5)}", f"content-digest: md5=:{text(OTHER[:16])}:"], "Content-Digest"),
        ([f"digest: sha-256={text(SHA256)}, sha-256={text(OTHER)}"], "Digest"),
        ([f"content-digest: sha-256=:{text(SHA256)}:", f"repr-digest: sha-256=:{text(OTHER)}:"], "Repr-Digest"),
        ([f"x-amz-content-sha256: {SHA256.hex()}", f"x-amz-checksum-sha256: {text(OTHER)}"], "x-amz-checksum-sha256"),
    ],
)
def test_the_header_is_named_when_its_digest_cannot_be_checked(headers: list[str], word: str) -> None:
    with pytest.raises(DigestRefusedError) as refused:
        read(*headers)
    assert re.search(rf"(?<![\w-]){re.escape(word)}", refused.value.detail)
    assert len(refused.value.detail) < 300


@given(
    st.sampled_from(
        ["content-digest", "repr-digest", "digest", "content-md5", "x-amz-checksum-crc32", "x-amz-trailer"]
    ),
    st.lists(st.binary() | st.text(alphabet="sha-256md5crc=:;,?@%()\"'a1 \t").map(str.encode), max_size=3),
)
def test_every_header_is_read_or_refused(name: str, values: list[bytes]) -> None:
    found: tuple[DeclaredDigest, ...] = ()
    detail = name
    try:
        found = declared_digests([(name.encode(), value) for value in values])
    except DigestRefusedError as refused:
        detail = refused.detail.lower()
    assert name in detail
    assert len({each.algorithm for each in found}) == len(found)
