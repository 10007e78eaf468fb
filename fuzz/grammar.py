"""Valid requests to the API and the pages, with random routes, methods, headers, bodies, and framing.

The service must understand each of them, but it refuses many (a wrong digest, a key with a query). `mutations.py`
creates invalid requests. Files are read under `kept/`; no request here deletes these.
"""

import base64
import random
from collections.abc import Callable, Sequence
from urllib.parse import quote_from_bytes

from fuzz import oddities
from fuzz.ingredients import DATES, KEPT, TYPES, Ingredients, content_digest
from fuzz.requests import Field, Request

# A placeholder for the id of a file that exists from the start; it has the length of an id, which replaces it later.
KEPT_ID = b"00000000-0000-7000-8000-0000000000%02d"

# Methods of the grammar, and how often each is drawn.
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
_NAMES = (
    b"report.pdf",
    b"r\xc3\xa9sum\xc3\xa9.txt",
    b"a b.txt",
    b"100%.txt",
    b"\xe6\x96\x87.bin",
    b".hidden",
    b"a" * 255,
)

_PAGES = (
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


class Grammar:
    """Draws the requests of one case. Keys that no other case uses contain `number`."""

    def __init__(self, chance: random.Random, number: int) -> None:
        self._chance = chance
        self._draw = Ingredients(chance, number)

    def request(self) -> Request:
        route = self._chance.choices(list(_ROUTES), list(_ROUTES.values()))[0]
        make: Callable[[], Request] = getattr(self, f"_{route}")
        request = make()
        request.names.append(route)
        if self._chance.random() < 0.03:
            request.fields.append((b"connection", self._chance.choice((b"close", b"keep-alive", b"Upgrade, close"))))
        self._chance.shuffle(request.fields)
        return request

    def of_metrics(self) -> Request:
        """A request to the address of UPLOAD_METRICS_ADDRESS."""
        chance = self._chance
        path = chance.choice((b"/metrics", b"/metrics", b"/_/metrics", b"/", b"/metrics?name[]=a", b"/favicon.ico"))
        request = self._draw.begun(chance.choice((b"GET", b"GET", b"HEAD", b"POST")), path)
        request.names.append("of_metrics")
        return request

    # --- routes

    def _put(self) -> Request:
        request = self._draw.begun(b"PUT", b"/files/" + self._draw.key())
        request.content = self._draw.content()
        self._draw.frame(request)
        self._draw.sometimes(request, 0.5, b"content-type", TYPES)
        self._draw.add_kept_headers(request)
        self._draw.add_digests(request)
        self._draw.add_placement(request)
        self._draw.add_conditions(request, 0.15)
        if self._chance.random() < 0.2:
            request.fields.append((b"x-amz-meta-" + self._chance.choice((b"a", b"B-c", b"name")), self._draw.word()))
        self._draw.sometimes(request, 0.06, b"expect", (b"100-continue",))
        return request

    def _form(self) -> Request:
        chance = self._chance
        boundary = chance.choice((b"the-boundary", b"-" * 60, b"a'()+_,-./:=?b"))
        request = self._draw.begun(b"POST", b"/upload")
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
        self._draw.frame(request)
        self._draw.add_placement(request)
        if chance.random() < 0.1:
            self._draw.add_digests(request)
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
        content = self._draw.content(most=70_000)
        fields: list[Field] = []
        if chance.random() < 0.3:
            fields.append((b"content-type", chance.choice(TYPES)))
        if chance.random() < 0.15:
            fields.append((b"content-digest", content_digest(content)))
        if chance.random() < 0.05:
            fields.append((b"content-encoding", b"gzip"))
        if chance.random() < 0.05:
            fields.append((b"content-transfer-encoding", chance.choice((b"binary", b"base64"))))
        return _part(disposition, content, fields)

    def _get(self) -> Request:
        chance = self._chance
        request = self._draw.begun(
            chance.choice((b"GET", b"GET", b"GET", b"HEAD")), b"/files/" + self._draw.key(read=True)
        )
        self._draw.add_conditions(request, 0.3)
        if chance.random() < 0.4:
            first, last = chance.randrange(5_000), chance.randrange(5_000)
            ranges = (b"bytes=%d-%d" % (first, last), b"bytes=%d-" % first, b"bytes=-%d" % last, b"bytes=0-0,5-9")
            request.fields.append((b"range", chance.choice(ranges)))
            self._draw.sometimes(request, 0.2, b"if-range", (b'"x"', *DATES))
        self._draw.sometimes(request, 0.1, b"accept-encoding", (b"gzip", b"identity;q=0"))
        return request

    def _delete(self) -> Request:
        request = self._draw.begun(b"DELETE", b"/files/" + self._draw.key())
        self._draw.add_conditions(request, 0.3)
        return request

    def _listing(self) -> Request:
        chance = self._chance
        values = {
            b"prefix": self._draw.mostly(
                (b"kept/", b"pool", b"", b"%25", b"kept%2F0", b"%F0%9F%92%A9"), oddities.SEGMENTS
            ),
            b"after": self._draw.mostly((b"kept/05", b"zzz", b""), oddities.SEGMENTS),
            b"limit": self._draw.mostly((b"1", b"7", b"1000", b"1001"), oddities.NUMBERS),
            b"state": self._draw.mostly((b"stored", b"partial"), (b"erased", b"%00", b"")),
            b"other": b"1",
        }
        names = chance.sample(sorted(values), chance.choice((0, 1, 1, 2, 3)))
        query = chance.choice((b"&", b"&", b";", b"&&")).join(name + b"=" + values[name] for name in names)
        return self._draw.begun(chance.choice((b"GET", b"GET", b"HEAD")), b"/files" + (b"?" + query if query else b""))

    def _receipt(self) -> Request:
        kept = KEPT_ID % self._chance.randrange(KEPT)
        return self._draw.begun(
            b"GET", b"/receipts/" + self._draw.mostly((kept,), (b"0193", b"0" * 36, *oddities.SEGMENTS))
        )

    def _probe(self) -> Request:
        path = self._chance.choice((b"/_/health", b"/_/ready", b"/_/metrics", b"/_/accounts", b"/_/nothing", b"/_/"))
        return self._draw.begun(self._chance.choice((b"GET", b"GET", b"HEAD", b"POST")), path)

    def _options(self) -> Request:
        chance = self._chance
        request = self._draw.begun(
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
        request = self._draw.begun(chance.choice((b"GET", b"GET", b"GET", b"HEAD", b"POST")), chance.choice(_PAGES))
        if request.method == b"POST":
            token = b"c" * 32
            request.fields.append((b"content-type", b"application/x-www-form-urlencoded"))
            request.content = b"csrfmiddlewaretoken=" + token + b"&next=%2Fadmin%2F"
            self._draw.frame(request)
            self._draw.sometimes(request, 0.5, b"cookie", (b"csrftoken=" + token,))
        self._draw.sometimes(
            request, 0.2, b"cookie", (b"sessionid=nothing", b"sessionid=a; csrftoken=b", b"=;=;", b"\xff=\xff")
        )
        return request

    def _unknown(self) -> Request:
        chance = self._chance
        path = chance.choice(
            (b"/uploads", b"/files/../upload", b"//files/a", b"/FILES/a", b"/receipts/", b"/.env", b"/wp-login.php")
        )
        request = self._draw.begun(chance.choice((b"GET", b"POST", b"PUT", b"DELETE", b"PATCH")), path)
        if chance.random() < 0.5:
            request.content = self._draw.content(most=2_000)
            self._draw.frame(request)
        return request

    def _signed(self) -> Request:
        chance = self._chance
        target = chance.choice(
            (b"/bucket-a/key", b"/files/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0", b"/?list-type=2")
        )
        request = self._draw.begun(chance.choice((b"GET", b"PUT")), target)
        signature = (
            b"AWS4-HMAC-SHA256 Credential=AKIA/20260102/eu-central-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        )
        request.set(b"authorization", signature)
        self._draw.sometimes(
            request, 0.5, b"x-amz-content-sha256", (b"UNSIGNED-PAYLOAD", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
        )
        return request

    def _whole_server(self) -> Request:
        target = self._chance.choice(
            (b"*", b"http://x/_/health", b"http://x/files/kept/00", b"x:80", b"https://user:pass@x/upload")
        )
        return self._draw.begun(self._chance.choice((b"GET", b"CONNECT", b"OPTIONS")), target)


def _part(disposition: bytes, content: bytes, fields: Sequence[Field] = ()) -> bytes:
    head = b"".join(name + b": " + value + b"\r\n" for name, value in ((b"content-disposition", disposition), *fields))
    return head + b"\r\n" + content
