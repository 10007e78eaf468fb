"""Digests that are computed only if they were declared, from bytes in any pieces."""

import hashlib

import pytest

from file.logic.errors import DigestMismatchError
from file.logic.hashing import ALGORITHMS, Comparison, hashed
from file.logic.values import DeclaredDigest, KiB

CHECK = b"123456789"
# Of CHECK: the "check" in the catalogue of CRCs, and the results of other tools.
DIGESTS = {
    "md5": "25f9e794323b453885f5181f1b624d0b",
    "sha-1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "sha-256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "sha-512": hashlib.sha512(CHECK).hexdigest(),
    "crc32": "cbf43926",
    "crc32c": "e3069283",
    "crc64nvme": "ae8b14860a799888",
}


@pytest.mark.parametrize("piece", [1, 4, 9])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_digest_is_right_when_the_bytes_come_in_pieces(algorithm: str, piece: int) -> None:
    right = bytes.fromhex(DIGESTS[algorithm])
    wrong = right[:-1] + bytes([right[-1] ^ 1])
    assert len(right) == ALGORITHMS[algorithm]
    comparison = Comparison([DeclaredDigest(algorithm, right, "a test")])
    mismatch = Comparison([DeclaredDigest(algorithm, wrong, "the header of a test")])
    for start in range(0, len(CHECK), piece):
        for each in (comparison, mismatch):
            each.update(memoryview(CHECK)[start : start + piece])
    comparison.check()
    with pytest.raises(DigestMismatchError, match=rf"{algorithm.upper()} that the header of a test declares"):
        mismatch.check()


def test_a_digest_from_elsewhere_is_compared_when_it_was_declared() -> None:
    declared = [DeclaredDigest(name, bytes.fromhex(DIGESTS[name]), "a test") for name in ("sha-256", "md5")]
    comparison = Comparison(declared, known=["sha-256"])
    comparison.update(CHECK)
    comparison.check({"sha-256": bytes.fromhex(DIGESTS["sha-256"])})
    with pytest.raises(DigestMismatchError, match="SHA-256"):
        comparison.check({"sha-256": bytes(32)})


@pytest.mark.parametrize("size", [0, 256 * KiB - 1, 256 * KiB])
async def test_long_bytes_are_hashed_as_short_ones_are(size: int) -> None:
    assert await hashed(lambda body: hashlib.sha256(body).digest(), bytes(size)) == hashlib.sha256(bytes(size)).digest()
