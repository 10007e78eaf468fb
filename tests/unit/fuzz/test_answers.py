"""The fuzzer reads answers strictly, so that it finds what is no answer."""

import pytest

from fuzz.answers import NotHttpError, read_answers

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a\r\n\r\nok"


def test_each_answer_is_read_when_several_come_on_a_connection() -> None:
    found = read_answers(b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE + WHOLE[:-1], None)
    assert [(answer.status, answer.request_id) for answer in found] == [(200, "a")] * 2
    assert [answer.is_whole for answer in found] == [True, False]


def test_an_answer_has_no_body_when_the_method_was_head() -> None:
    head = WHOLE.removesuffix(b"ok")
    assert [answer.body for answer in read_answers(head + WHOLE, [b"HEAD", b"GET"])] == [b"", b"ok"]
    assert [answer.body for answer in read_answers(head + WHOLE, None)] == [b"", b"ok"]


def test_a_body_is_read_when_the_answer_came_before_the_method_was_known() -> None:
    refused = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 2\r\n\r\n"
    assert [answer.body for answer in read_answers(refused + b"ok", [b"HEAD"])] == [b"ok"]
    assert [(answer.body, answer.is_whole) for answer in read_answers(refused, [b"HEAD"])] == [(b"", True)]
    assert [answer.status for answer in read_answers(refused + WHOLE, [b"HEAD", b"GET"])] == [408, 200]


def test_chunks_are_joined_when_an_answer_has_them() -> None:
    framed = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    assert [(answer.body, answer.is_whole) for answer in read_answers(framed + WHOLE, None)] == [(b"ok", True)] * 2
    assert not read_answers(framed[:-4], None)[0].is_whole


@pytest.mark.parametrize(
    "received",
    [
        b"<!DOCTYPE HTML>",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        WHOLE + b"rest",
    ],
)
def test_an_error_is_raised_when_the_bytes_are_no_answer(received: bytes) -> None:
    with pytest.raises(NotHttpError):
        read_answers(received, [b"GET"])
