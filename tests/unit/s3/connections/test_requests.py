"""A request as bytes."""

import pytest

from file.s3.connections.requests import request_bytes


def test_head_and_body_are_one_piece_when_there_is_a_body() -> None:
    sent = request_bytes("PUT", "/b/k?x=", "store:80", {"etag": '"e"', "x-amz-meta-a": "ü\tv"}, memoryview(b"body"))
    assert sent == (
        b"PUT /b/k?x= HTTP/1.1\r\nhost: store:80\r\naccept: */*\r\nuser-agent: mentum-file-upload\r\n"
        b'etag: "e"\r\nx-amz-meta-a: \xc3\xbc\tv\r\ncontent-length: 4\r\n\r\nbody'
    )


def test_there_is_a_length_only_when_there_may_be_a_body() -> None:
    assert request_bytes("POST", "/", "s", {}, b"").endswith(b"\r\ncontent-length: 0\r\n\r\n")
    assert b"content-length" not in request_bytes("DELETE", "/", "s", {}, None)


@pytest.mark.parametrize("character", ["\r", "\n", "\0"])
def test_it_is_refused_when_a_value_could_end_a_line(character: str) -> None:
    with pytest.raises(ValueError, match="end of a line"):
        request_bytes("PUT", "/", "s", {"x-amz-meta-a": f"a{character}b"}, b"")
