"""The elements of requests: keys, bodies, framing, headers, each drawn from the generator of the case."""

import base64
import hashlib
import random
import zlib
from collections.abc import Sequence

from fuzz import oddities
from fuzz.requests import Request

TOKENS = (b"Zq3xV7mK-9tRw2LfY8nJc5Hd", b"pB6sT1gX4-kWy0QzM7uNv3Er")
POOL = 24  # keys that many requests write, read, and erase
KEPT = 16  # files that exist from the start
MIB = 1024 * 1024
LARGE_BYTES = 8 * MIB + 70_000  # a file of two parts
TYPES = (
    b"text/plain",
    b"application/pdf",
    b"image/png; a=b",
    b"application/octet-stream",
    b"text/plain;charset=utf-8",
)
DATES = (b"Fri, 02 Jan 2026 03:04:05 GMT", b"Thu, 01 Jan 1970 00:00:00 GMT", b"Fri, 31 Dec 2049 23:59:59 GMT")


class Ingredients:
    """The elements for one case. Keys that no other case uses, and the ids of its requests, contain `number`."""

    def __init__(self, chance: random.Random, number: int) -> None:
        self._chance = chance
        self._number = number
        self._made = 0

    def begun(self, method: bytes, target: bytes) -> Request:
        chance = self._chance
        self._made += 1
        fields = [(b"host", chance.choice((b"x", b"x", b"localhost:8000", b"[::1]:80")))]
        if chance.random() < 0.95:
            scheme = chance.choice((b"Bearer ", b"Bearer ", b"Bearer ", b"bearer  "))
            token = chance.choice(TOKENS) if chance.random() < 0.96 else b"not-a-token"
            fields.append((b"authorization", scheme + token))
        if chance.random() < 0.9:
            fields.append((b"x-request-id", b"fuzz-%d-%d" % (self._number, self._made)))
        return Request(method, target, fields)

    def key(self, *, read: bool = False) -> bytes:
        chance = self._chance
        way = chance.random()
        if read and way < 0.7:
            return b"kept/%02d" % chance.randrange(KEPT)
        if way < 0.35:
            return b"pool/%02d" % chance.randrange(POOL)
        if way < 0.8:
            return b"one/%d-%d" % (self._number, self._made)
        segments = [
            chance.choice((b"a", b"b", b"%C3%A9", *oddities.SEGMENTS)) for _ in range(chance.choice((1, 1, 2, 3)))
        ]
        return b"/".join(segments)

    def content(self, *, most: int = LARGE_BYTES) -> bytes:
        chance = self._chance
        way = chance.random()
        if way < 0.1:
            size = chance.choice((0, 1, 2))
        elif way < 0.9:
            size = chance.randrange(4_096)
        elif way < 0.985:
            size = chance.choice((65_535, 65_536, 65_537, 70_000))
        elif way < 0.998:
            size = MIB + chance.randrange(-3, 3)
        else:
            size = LARGE_BYTES
        return chance.randbytes(min(size, most))

    def frame(self, request: Request) -> None:
        chance = self._chance
        if chance.random() < 0.65:
            request.send_by_length()
            return
        way = chance.random()
        most = len(request.content)
        if way < 0.15 and most <= 5_000:
            request.send_in_chunks([1] * most)
        elif way < 0.5:
            request.send_in_chunks([chance.randrange(1, 2_000) for _ in range(20)])
        else:
            request.send_in_chunks([], b"x-trailer: 1\r\n" if way > 0.9 else b"")

    def add_kept_headers(self, request: Request) -> None:
        self.sometimes(request, 0.06, b"content-encoding", (b"gzip", b"br, gzip", b"aws-chunked"))
        self.sometimes(request, 0.06, b"content-language", (b"de", b"de, en-GB"))
        self.sometimes(request, 0.06, b"content-disposition", (b"inline", b'attachment; filename="a.txt"'))
        self.sometimes(request, 0.06, b"cache-control", (b"public, max-age=5", b"no-store"))
        self.sometimes(request, 0.06, b"expires", DATES)

    def add_digests(self, request: Request) -> None:
        if self._chance.random() > 0.25:
            return
        content = request.content if self._chance.random() < 0.8 else b"other bytes"
        right = (
            (b"content-digest", content_digest(content)),
            (b"repr-digest", b"md5=:%b:, sha=:%b:" % (_base64(hashlib.md5(content)), _base64(hashlib.sha1(content)))),  # noqa: S324
            (b"content-md5", _base64(hashlib.md5(content))),  # noqa: S324
            (b"digest", b"SHA-512=" + _base64(hashlib.sha512(content))),
            (b"x-amz-checksum-sha256", _base64(hashlib.sha256(content))),
            (b"x-amz-checksum-crc32", base64.b64encode(zlib.crc32(content).to_bytes(4, "big"))),
            (b"x-amz-content-sha256", hashlib.sha256(content).hexdigest().encode()),
            (b"x-amz-sdk-checksum-algorithm", b"SHA256"),
        )
        request.fields += self._chance.sample(right, self._chance.choice((1, 1, 2)))

    def add_placement(self, request: Request) -> None:
        ack = self.mostly((b"all", b"quorum", b"any", b"1", b"2"), (b"5", *oddities.NUMBERS))
        accounts = self.mostly((b"A", b"B", b"B, A"), (b"A,A", b"C", b"a"))
        self.sometimes(request, 0.12, b"upload-ack", (ack,))
        self.sometimes(request, 0.08, b"upload-accounts", (accounts,))
        keys = (*(b"again-%d" % n for n in range(8)), b"only-%d" % self._number)
        self.sometimes(request, 0.15, b"idempotency-key", keys)

    def add_conditions(self, request: Request, share: float) -> None:
        tags = (b"*", b'"x"', b'W/"x"', b'"a", "b"', b"x", b'"' + b"0" * 64 + b'"')
        for name in (b"if-match", b"if-none-match"):
            self.sometimes(request, share / 2, name, tags)
        for name in (b"if-modified-since", b"if-unmodified-since"):
            self.sometimes(request, share / 3, name, DATES)

    def sometimes(self, request: Request, share: float, name: bytes, values: Sequence[bytes]) -> None:
        if self._chance.random() < share:
            request.fields.append((name, self._chance.choice(values)))

    def mostly(self, usual: Sequence[bytes], odd: Sequence[bytes]) -> bytes:
        return self._chance.choice(usual if self._chance.random() < 0.7 else odd)

    def word(self) -> bytes:
        return self._chance.choice((b"v", b"a b", b"v" * 500, b"v" * 2_100, b"\xc3\xa9"))


def _base64(digest: "hashlib._Hash") -> bytes:
    return base64.b64encode(digest.digest())


def content_digest(content: bytes) -> bytes:
    return b"sha-256=:%b:" % _base64(hashlib.sha256(content))
