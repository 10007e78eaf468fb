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
    assert figures.requests > QUICK
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


REFUSED = {
    "a version other than 1.0 and 1.1": b"GET / HTTP/2.0\r\nhost: x\r\n\r\n",
}


def test_every_reason_has_a_request() -> None:
    assert REFUSED.keys() == REASONS.keys()


@pytest.mark.parametrize(("reason", "wire"), REFUSED.items())
async def test_a_request_is_refused_by_our_reader_alone_when_there_is_a_reason(reason: str, wire: bytes) -> None:
    refused = refused_alone(await read_by_us([wire]), (read_by_h11(wire), read_by_llhttp(wire)))
    assert refused is not None
    assert reason_of(refused, wire) == reason
