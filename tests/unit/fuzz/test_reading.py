"""Our reader of requests is compared with h11 and llhttp; `make fuzz` compares many more cases."""

import asyncio

import pytest

from fuzz.comparison import leniencies, refused_alone
from fuzz.judges import Message, Reading, read_by_h11, read_by_llhttp
from fuzz.ours import read_by_us
from fuzz.reading import QUICK, compare
from fuzz.strictness import REASONS, reason_of

HEAD = b"PUT /k HTTP/1.1\r\nhost: x\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
ONE_BYTE = Message(b"PUT", b"/k", b"1.1", ((b"host", b"x"), (b"content-length", b"1")), b"y", is_whole=True, keeps=True)


def test_no_request_is_read_in_another_way_than_by_the_judges() -> None:
    figures = asyncio.run(compare(13, range(QUICK)))
    assert figures.findings == []
    assert figures.requests > QUICK / 2
    assert figures.refused > QUICK / 4


@pytest.mark.parametrize(
    ("ours", "text"),
    [
        (Reading((ONE_BYTE, ONE_BYTE)), "accepts"),
        (Reading((Message(b"PUT", b"/k", b"1.1", ONE_BYTE.fields, b"", is_whole=True, keeps=True),)), "reads the body"),
        (Reading((Message(b"PUT", b"/k", b"1.1", (), b"y", is_whole=True, keeps=True),)), "with ()"),
        (Reading((Message(b"POST", b"/k", b"1.1", ONE_BYTE.fields, b"y", is_whole=True, keeps=True),)), "POST"),
        (
            Reading((Message(b"PUT", b"/", b"1.1", ONE_BYTE.fields, b"y", is_whole=True, keeps=True),)),
            "it is b'PUT' b'/k'",
        ),
        (Reading((Message(b"PUT", b"/k", b"1.1", ONE_BYTE.fields, b"y", is_whole=False, keeps=True),)), "waits"),
        (Reading(()), "waits"),
    ],
)
def test_a_difference_is_found_when_our_reader_reads_it_in_another_way(ours: Reading, text: str) -> None:
    wire = HEAD + b"content-length: 1\r\n\r\ny"
    for name, judge in ("h11", read_by_h11(wire)), ("llhttp", read_by_llhttp(wire)):
        assert judge == Reading((ONE_BYTE,))
        assert list(leniencies(judge, judge, name)) == []
        assert any(text in found for found in leniencies(ours, judge, name))


MANY = 70_000
REFUSED = {
    "a version other than 1.0 and 1.1": b"GET / HTTP/2.0\r\nhost: x\r\n\r\n",
    "the method CONNECT": b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    "a target that is no path": b"GET ftp://x/ HTTP/1.1\r\nhost: x\r\n\r\n",
    "a fragment in the target": b"GET /a#b HTTP/1.1\r\nhost: x\r\n\r\n",
    "a target of more than 16 KiB": b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    "more than 100 fields": HEAD + b"a: b\r\n" * 100 + b"\r\n",
    "a head of more than 64 KiB": HEAD + b"a: " + b"b" * MANY + b"\r\n\r\n",
    "a coding in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n",
    "a length of more than 19 digits": HEAD + b"content-length: 10000000000000000000\r\n\r\n",
    "an extension of a chunk with = and no value": CHUNKED + b"0;a=\r\n\r\n",
    "the size of a chunk with more than 15 digits": CHUNKED + b"0000000000000001\r\na\r\n0\r\n\r\n",
    "a line between chunks, or of a trailer, of more than 1 KiB": CHUNKED + b"0;" + b"a" * 2_000 + b"\r\n\r\n",
    "trailers of more than 8 KiB": CHUNKED + b"0\r\n" + b"a: b\r\n" * 1_500 + b"\r\n",
}


def test_every_reason_has_a_request() -> None:
    assert REFUSED.keys() == REASONS.keys()


@pytest.mark.parametrize(("reason", "wire"), REFUSED.items())
async def test_a_request_is_refused_by_our_reader_alone_when_there_is_a_reason(reason: str, wire: bytes) -> None:
    refused = refused_alone(await read_by_us([wire]), (read_by_h11(wire), read_by_llhttp(wire)))
    assert refused is not None
    assert reason_of(refused, wire) == reason
