"""Heads and bodies that none of our clients sends, and all routes that they are sent to, also those of Django."""

from dataclasses import dataclass

API = (
    *("GET /_/health", "GET /_/ready", "GET /_/metrics", "GET /_/accounts", "GET /_/nothing", "DELETE /_/"),
    *("GET /files/k", "HEAD /files/k", "GET /files/none", "DELETE /files/none", "PUT /files/put", "PUT /files/a/../b"),
    *("PATCH /files/k", "GET /files/%00", "GET /files/%ff", "OPTIONS /files/k", "POST /upload", "BREW /upload"),
    *("OPTIONS *", "GET *", "GET /receipts/x", "GET /receipts/%00", "GET /receipts/%ff", "GET /receipts/%ed%a0%80"),
    *("GET /files", "GET /files?prefix=%00", "GET /files?after=%ff&prefix=%ed%a0%80", "GET /files?limit=%EF%BC%91"),
    "GET /files?limit=" + "9" * 4400,
)
PAGES = (
    *("GET /", "HEAD /", "POST /", "GET /?%00=%ff", "GET /%ff", "GET /nothing", "PROPFIND /", "GET /admin"),
    *("GET /admin/", "GET /admin/%00", "GET /admin/%ff/", "DELETE /admin/", "OPTIONS /admin/", "GET /admin/login/"),
    *("POST /admin/login/", "GET /admin/login/?next=%00%ff", "GET /static/none", "GET /static/%00", "GET /static/%ff"),
    *("GET /static/admin/css/base.css", "HEAD /static/admin/css/base.css", "GET /static/..%2f..%2fmanage.py"),
    *("POST /static/x", "GET /static/" + "a" * 5000),
)


@dataclass(frozen=True)
class Odd:
    """The headers after Host, and the body; with `ends`, the client then closes its half of the connection."""

    fields: tuple[str | bytes, ...] = ()
    body: bytes = b""
    ends: bool = False


_CHUNKED = "transfer-encoding: chunked"
_MIB_AND_MORE = b"x" * 1_100_000
LONG = "x" * 9999
ODD = {
    "a length of 4,400 zeros": Odd(("content-length: " + "0" * 4400,)),
    "a length of 4,400 digits": Odd(("content-length: " + "0" * 4399 + "1",), b"x"),
    "a chunked body": Odd((_CHUNKED,), b"3\r\nabc\r\n0\r\n\r\n"),
    "an empty chunked body": Odd((_CHUNKED,), b"0\r\n\r\n"),
    "a chunked body with trailers": Odd((_CHUNKED,), b"1\r\nx\r\n0\r\na: b\r\n\r\n"),
    "a broken chunk": Odd((_CHUNKED,), b"zz\r\n"),
    "a chunk that ends early": Odd((_CHUNKED,), b"5\r\nab", ends=True),
    "a chunk of 2^64 bytes": Odd((_CHUNKED,), b"10000000000000000\r\nab", ends=True),
    "a short body": Odd(("content-length: 10",), b"abc", ends=True),
    "no body after a length": Odd(("content-length: 10",), ends=True),
    "a huge length": Odd(("content-length: 9223372036854775807",), b"abc", ends=True),
    "an oversized body": Odd((f"content-length: {len(_MIB_AND_MORE)}",), _MIB_AND_MORE),
    "an oversized chunk": Odd((_CHUNKED,), b"%x\r\n%b\r\n0\r\n\r\n" % (len(_MIB_AND_MORE), _MIB_AND_MORE)),
    "an expectation": Odd(("expect: 100-continue", "content-length: 5"), ends=True),
    "an unknown expectation": Odd(("expect: a-miracle",)),
    "an upgrade": Odd(("connection: upgrade", "upgrade: websocket", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")),
    "an origin": Odd((b"origin: \xff\xfe",)),
    "a preflight": Odd(
        ("origin: https://a.example", "access-control-request-method: PUT", "access-control-request-headers: " + LONG)
    ),
    "a range of 4,400 digits": Odd(("range: bytes=" + "9" * 4400 + "-", "if-range: " + "9" * 4400)),
    "many ranges": Odd(("range: bytes=" + ",".join(f"{n}-{n}" for n in range(2000)),)),
    "a range behind the end": Odd(("range: bytes=999999999999-",)),
    "dates at the end of time": Odd(
        ("if-unmodified-since: Fri, 31 Dec 9999 23:59:59 -2359", "if-modified-since: Mon, 01 Jan 0001 00:00:00 +2359")
    ),
    "dates of 4,400 digits": Odd(
        ("if-unmodified-since: Fri, 31 Dec " + "9" * 4400 + " 00:00:00 GMT", "if-modified-since: " + "9" * 4400)
    ),
    "entity tags": Odd((b'if-match: "\xff', b"if-none-match: W/" + b'"' * 4001)),
    "languages": Odd(("accept: " + "a/b;q=x," * 999, "accept-language: " + "en;q=9999," * 999)),
    "cookies": Odd((b"cookie: sessionid=\xff; csrftoken=\xe4",)),
    "a token that is no text": Odd((b"authorization: Bearer \xff\xfe",)),
    "an ack of 4,400 digits": Odd(("upload-ack: " + "9" * 4400, "upload-accounts: " + "," * 4400)),
    "keys that are no text": Odd((b"idempotency-key: \xff", b"x-request-id: \xff")),
    "a type that is none": Odd((b"content-type: multipart/form-data; boundary=" + b"\xff" * 5000, "content-length: 0")),
    "digests of 4,400 digits": Odd(
        ("content-digest: sha-256=" + "9" * 4400, "digest: crc32c=" + "9" * 4400, "content-md5: " + "9" * 4400)
    ),
    "forwarded addresses": Odd(
        (b"x-forwarded-for: \xff", "x-forwarded-proto: " + "x" * 4400, "forwarded: for=" + "9" * 4400, b"referer: \xff")
    ),
}
