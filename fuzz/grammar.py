"""Requests that the API and the pages know, each part of them drawn: routes, methods, headers, bodies, frames.

What is made here is meant to be understood, though much of it is refused (a digest of other bytes, a key with a query).
`mutations.py` makes what no client means. Files are read under `kept/`, which nothing here deletes.
"""

import base64
import hashlib
import random
import zlib
from collections.abc import Callable, Sequence
from urllib.parse import quote_from_bytes

from fuzz import oddities
from fuzz.requests import Field, Request

TOKENS = (b"Zq3xV7mK-9tRw2LfY8nJc5Hd", b"pB6sT1gX4-kWy0QzM7uNv3Er")
ACCOUNTS = (b"A", b"B")
KEPT = 16  # files that are there from the start
POOL = 24  # keys that many requests write, read and erase
# Stands for the id of a file that is there from the start; written over when the id is known, which has this length.
KEPT_ID = b"00000000-0000-7000-8000-0000000000%02d"
MIB = 1024 * 1024
LARGE_BYTES = 8 * MIB + 70_000  # of two parts

_ROUTES = {
    "put": 27,
    "form": 17,
    "get": 17,
    "delete": 6,
    "listing": 8,
    "receipt": 4,
    "probe": 6,
    "options": 3,
    "page": 6,
    "unknown": 3,
    "signed": 2,
    "whole_server": 1,
}
_TYPES = (
    b"text/plain",
    b"application/pdf",
    b"image/png; a=b",
    b"application/octet-stream",
    b"text/plain;charset=utf-8",
)
_NAMES = (
    b"report.pdf",
    b"r\xc3\xa9sum\xc3\xa9.txt",
    b"a b.txt",
    b"100%.txt",
    b"\xe6\x96\x87.bin",
    b".hidden",
    b"a" * 255,
)
_DATES = (b"Fri, 02 Jan 2026 03:04:05 GMT", b"Thu, 01 Jan 1970 00:00:00 GMT", b"Fri, 31 Dec 2049 23:59:59 GMT")


class Grammar:
    """One case's requests. `number` stands in the keys that no other case has."""

    def __init__(self, chance: random.Random, number: int) -> None:
        self._chance = chance
        self._number = number
        self._made = 0

    def request(self) -> Request:
        self._made += 1
        route = self._chance.choices(list(_ROUTES), list(_ROUTES.values()))[0]
        makes: dict[str, Callable[[], Request]] = {
            "put": self._put,
            "form": self._form,
            "get": self._get,
            "delete": self._delete,
            "listing": self._listing,
            "receipt": self._receipt,
            "probe": self._probe,
            "options": self._options,
            "page": self._page,
            "unknown": self._unknown,
            "signed": self._signed,
            "whole_server": self._whole_server,
        }
        request = makes[route]()
        request.names.append(route)
        if self._chance.random() < 0.03:
            request.fields.append((b"connection", self._chance.choice((b"close", b"keep-alive", b"Upgrade, close"))))
        self._chance.shuffle(request.fields)
        return request

    def of_metrics(self) -> Request:
        """To the address of UPLOAD_METRICS_ADDRESS."""
        chance = self._chance
        path = chance.choice((b"/metrics", b"/metrics", b"/_/metrics", b"/", b"/metrics?name[]=a", b"/favicon.ico"))
        request = self._begun(chance.choice((b"GET", b"GET", b"HEAD", b"POST")), path)
        request.names.append("of_metrics")
        return request

    # --- routes

    def _put(self) -> Request:
        request = self._begun(b"PUT", b"/files/" + self._key())
        request.content = self._content()
        self._frame(request)
        self._sometimes(request, 0.5, b"content-type", _TYPES)
        self._add_kept_headers(request)
        self._add_digests(request)
        self._add_placement(request)
        self._add_conditions(request, 0.15)
        if self._chance.random() < 0.2:
            request.fields.append((b"x-amz-meta-" + self._chance.choice((b"a", b"B-c", b"name")), self._word()))
        self._sometimes(request, 0.06, b"expect", (b"100-continue",))
        return request

    def _form(self) -> Request:
        chance = self._chance
        boundary = chance.choice((b"the-boundary", b"-" * 60, b"a'()+_,-./:=?b"))
        request = self._begun(b"POST", b"/upload")
        parts = [self._file_part()]
        if chance.random() < 0.5:
            parts.insert(chance.choice((0, 1)), _part(b'form-data; name="filename"', chance.choice(_NAMES)))
        if chance.random() < 0.15:
            parts += [_part(b'form-data; name="other%d"' % n, b"v") for n in range(chance.choice((1, 3, 99, 101)))]
        if chance.random() < 0.05:
            parts.append(self._file_part())
        if chance.random() < 0.05:
            parts = [part for part in parts if b'name="file"' not in part]
        frame = b"--" + boundary + b"\r\n"
        request.content = b"".join(frame + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
        told = boundary if boundary.isalpha() else b'"' + boundary + b'"'
        request.fields.append((b"content-type", b"multipart/form-data; boundary=" + told))
        self._frame(request)
        self._add_placement(request)
        if chance.random() < 0.1:
            self._add_digests(request)
        return request

    def _file_part(self) -> bytes:
        chance = self._chance
        name = chance.choice(_NAMES)
        disposition = chance.choice(
            (
                b'form-data; name="file"; filename="%b"' % name,
                b'form-data; name="file"; filename="%b"' % name,
                b"form-data; name=file; filename*=UTF-8''%b" % quote_from_bytes(name).encode(),
                b'form-data; name="file"; filename="=?utf-8?B?%b?="' % base64.b64encode(name),
                b'form-data; name="file"',
                b'form-data; name="file"; filename=""',
                b'form-data; name="file"; filename="a%22b\\".txt"',
            )
        )
        content = self._content(most=70_000)
        fields: list[Field] = []
        if chance.random() < 0.3:
            fields.append((b"content-type", chance.choice(_TYPES)))
        if chance.random() < 0.15:
            fields.append((b"content-digest", _sha256(content)))
        if chance.random() < 0.05:
            fields.append((b"content-encoding", b"gzip"))
        if chance.random() < 0.05:
            fields.append((b"content-transfer-encoding", chance.choice((b"binary", b"base64"))))
        return _part(disposition, content, fields)

    def _get(self) -> Request:
        chance = self._chance
        request = self._begun(chance.choice((b"GET", b"GET", b"GET", b"HEAD")), b"/files/" + self._key(read=True))
        self._add_conditions(request, 0.3)
        if chance.random() < 0.4:
            first, last = chance.randrange(5_000), chance.randrange(5_000)
            ranges = (b"bytes=%d-%d" % (first, last), b"bytes=%d-" % first, b"bytes=-%d" % last, b"bytes=0-0,5-9")
            request.fields.append((b"range", chance.choice(ranges)))
            self._sometimes(request, 0.2, b"if-range", (b'"x"', *_DATES))
        self._sometimes(request, 0.1, b"accept-encoding", (b"gzip", b"identity;q=0"))
        return request

    def _delete(self) -> Request:
        request = self._begun(b"DELETE", b"/files/" + self._key())
        self._add_conditions(request, 0.3)
        return request

    def _listing(self) -> Request:
        chance = self._chance
        values = {
            b"prefix": self._mostly((b"kept/", b"pool", b"", b"%25", b"kept%2F0", b"%F0%9F%92%A9"), oddities.SEGMENTS),
            b"after": self._mostly((b"kept/05", b"zzz", b""), oddities.SEGMENTS),
            b"limit": self._mostly((b"1", b"7", b"1000", b"1001"), oddities.NUMBERS),
            b"state": self._mostly((b"stored", b"partial"), (b"erased", b"%00", b"")),
            b"other": b"1",
        }
        names = chance.sample(sorted(values), chance.choice((0, 1, 1, 2, 3)))
        query = chance.choice((b"&", b"&", b";", b"&&")).join(name + b"=" + values[name] for name in names)
        return self._begun(chance.choice((b"GET", b"GET", b"HEAD")), b"/files" + (b"?" + query if query else b""))

    def _receipt(self) -> Request:
        kept = KEPT_ID % self._chance.randrange(KEPT)
        return self._begun(b"GET", b"/receipts/" + self._mostly((kept,), (b"0193", b"0" * 36, *oddities.SEGMENTS)))

    def _probe(self) -> Request:
        path = self._chance.choice((b"/_/health", b"/_/ready", b"/_/metrics", b"/_/accounts", b"/_/nothing", b"/_/"))
        return self._begun(self._chance.choice((b"GET", b"GET", b"HEAD", b"POST")), path)

    def _options(self) -> Request:
        chance = self._chance
        request = self._begun(
            b"OPTIONS", chance.choice((b"/upload", b"/files/a", b"/files", b"*", b"/_/health", b"/no"))
        )
        if chance.random() < 0.5:
            request.fields += [
                (b"origin", chance.choice((b"https://files.example.com", b"null", b"https://other.example"))),
                (b"access-control-request-method", chance.choice((b"PUT", b"get", b"PROPFIND"))),
            ]
        return request

    def _page(self) -> Request:
        chance = self._chance
        paths = (
            *(b"/", b"/admin", b"/admin/", b"/admin/login/", b"/admin/login/?next=/admin/", b"/admin/logout/"),
            *(b"/admin/file/file/", b"/admin/file/file/%00/change/", b"/admin/file/replica/?q=%00", b"/admin/jsi18n/"),
            *(
                b"/admin/r/1/1/",
                b"/admin/%FF",
                b"/admin/file/file/add/",
                b"/admin/auth/user/9999999999999999999999/change/",
            ),
            *(
                b"/static/admin/css/base.css",
                b"/static/../manage.py",
                b"/static/admin/%00",
                b"/static/",
                b"/static/admin",
            ),
            *(b"/static/" + b"a" * 5_000, b"/static/admin/css/base.css%00.png", b"/static/%2e%2e/%2e%2e/etc/passwd"),
        )
        request = self._begun(chance.choice((b"GET", b"GET", b"GET", b"HEAD", b"POST")), chance.choice(paths))
        if request.method == b"POST":
            token = b"c" * 32
            request.fields.append((b"content-type", b"application/x-www-form-urlencoded"))
            request.content = b"csrfmiddlewaretoken=" + token + b"&next=%2Fadmin%2F"
            self._frame(request)
            self._sometimes(request, 0.5, b"cookie", (b"csrftoken=" + token,))
        self._sometimes(
            request, 0.2, b"cookie", (b"sessionid=nothing", b"sessionid=a; csrftoken=b", b"=;=;", b"\xff=\xff")
        )
        return request

    def _unknown(self) -> Request:
        chance = self._chance
        path = chance.choice(
            (b"/uploads", b"/files/../upload", b"//files/a", b"/FILES/a", b"/receipts/", b"/.env", b"/wp-login.php")
        )
        request = self._begun(chance.choice((b"GET", b"POST", b"PUT", b"DELETE", b"PATCH")), path)
        if chance.random() < 0.5:
            request.content = self._content(most=2_000)
            self._frame(request)
        return request

    def _signed(self) -> Request:
        chance = self._chance
        target = chance.choice(
            (b"/bucket-a/key", b"/files/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0", b"/?list-type=2")
        )
        request = self._begun(chance.choice((b"GET", b"PUT")), target)
        signature = (
            b"AWS4-HMAC-SHA256 Credential=AKIA/20260102/eu-central-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        )
        request.set(b"authorization", signature)
        self._sometimes(
            request, 0.5, b"x-amz-content-sha256", (b"UNSIGNED-PAYLOAD", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
        )
        return request

    def _whole_server(self) -> Request:
        target = self._chance.choice(
            (b"*", b"http://x/_/health", b"http://x/files/kept/00", b"x:80", b"https://user:pass@x/upload")
        )
        return self._begun(self._chance.choice((b"GET", b"CONNECT", b"OPTIONS")), target)

    # --- what they are made of

    def _begun(self, method: bytes, target: bytes) -> Request:
        chance = self._chance
        fields = [(b"host", chance.choice((b"x", b"x", b"localhost:8000", b"[::1]:80")))]
        if chance.random() < 0.95:
            scheme = chance.choice((b"Bearer ", b"Bearer ", b"Bearer ", b"bearer  "))
            token = chance.choice(TOKENS) if chance.random() < 0.96 else b"not-a-token"
            fields.append((b"authorization", scheme + token))
        if chance.random() < 0.9:
            fields.append((b"x-request-id", b"fuzz-%d-%d" % (self._number, self._made)))
        return Request(method, target, fields)

    def _key(self, *, read: bool = False) -> bytes:
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

    def _content(self, *, most: int = LARGE_BYTES) -> bytes:
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

    def _frame(self, request: Request) -> None:
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

    def _add_kept_headers(self, request: Request) -> None:
        self._sometimes(request, 0.06, b"content-encoding", (b"gzip", b"br, gzip", b"aws-chunked"))
        self._sometimes(request, 0.06, b"content-language", (b"de", b"de, en-GB"))
        self._sometimes(request, 0.06, b"content-disposition", (b"inline", b'attachment; filename="a.txt"'))
        self._sometimes(request, 0.06, b"cache-control", (b"public, max-age=5", b"no-store"))
        self._sometimes(request, 0.06, b"expires", _DATES)

    def _add_digests(self, request: Request) -> None:
        if self._chance.random() > 0.25:
            return
        content = request.content if self._chance.random() < 0.8 else b"other bytes"
        right = (
            (b"content-digest", _sha256(content)),
            (b"repr-digest", b"md5=:%b:, sha=:%b:" % (_base64(hashlib.md5(content)), _base64(hashlib.sha1(content)))),  # noqa: S324
            (b"content-md5", _base64(hashlib.md5(content))),  # noqa: S324
            (b"digest", b"SHA-512=" + _base64(hashlib.sha512(content))),
            (b"x-amz-checksum-sha256", _base64(hashlib.sha256(content))),
            (b"x-amz-checksum-crc32", base64.b64encode(zlib.crc32(content).to_bytes(4, "big"))),
            (b"x-amz-content-sha256", hashlib.sha256(content).hexdigest().encode()),
            (b"x-amz-sdk-checksum-algorithm", b"SHA256"),
        )
        request.fields += self._chance.sample(right, self._chance.choice((1, 1, 2)))

    def _add_placement(self, request: Request) -> None:
        ack = self._mostly((b"all", b"quorum", b"any", b"1", b"2"), (b"5", *oddities.NUMBERS))
        accounts = self._mostly((b"A", b"B", b"B, A"), (b"A,A", b"C", b"a"))
        self._sometimes(request, 0.12, b"upload-ack", (ack,))
        self._sometimes(request, 0.08, b"upload-accounts", (accounts,))
        keys = (*(b"again-%d" % n for n in range(8)), b"only-%d" % self._number)
        self._sometimes(request, 0.15, b"idempotency-key", keys)

    def _add_conditions(self, request: Request, share: float) -> None:
        tags = (b"*", b'"x"', b'W/"x"', b'"a", "b"', b"x", b'"' + b"0" * 64 + b'"')
        for name in (b"if-match", b"if-none-match"):
            self._sometimes(request, share / 2, name, tags)
        for name in (b"if-modified-since", b"if-unmodified-since"):
            self._sometimes(request, share / 3, name, _DATES)

    def _sometimes(self, request: Request, share: float, name: bytes, values: Sequence[bytes]) -> None:
        if self._chance.random() < share:
            request.fields.append((name, self._chance.choice(values)))

    def _mostly(self, usual: Sequence[bytes], odd: Sequence[bytes]) -> bytes:
        return self._chance.choice(usual if self._chance.random() < 0.7 else odd)

    def _word(self) -> bytes:
        return self._chance.choice((b"v", b"a b", b"v" * 500, b"v" * 2_100, b"\xc3\xa9"))


def _part(disposition: bytes, content: bytes, fields: Sequence[Field] = ()) -> bytes:
    head = b"".join(name + b": " + value + b"\r\n" for name, value in ((b"content-disposition", disposition), *fields))
    return head + b"\r\n" + content


def _base64(digest: "hashlib._Hash") -> bytes:
    return base64.b64encode(digest.digest())


def _sha256(content: bytes) -> bytes:
    return b"sha-256=:%b:" % _base64(hashlib.sha256(content))
