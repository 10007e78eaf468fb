"""Answers of S3 and of other stores: errors, listings, and hostile XML."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from file.s3.xml import (
    Completed,
    ErrorAnswer,
    OpenUpload,
    UnreadableAnswerError,
    Version,
    complete_answer,
    complete_request,
    objects,
    parse_error,
    upload_id,
    uploads,
    versions,
)

S3_ERROR = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'x' is wrong; expecting 'us-west-2'</Message>
<Region>us-west-2</Region><RequestId>4442587FB7D0A2F9</RequestId></Error>"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (S3_ERROR, ErrorAnswer("AuthorizationHeaderMalformed", "us-west-2")),
        (b"\xef\xbb\xbf" + S3_ERROR, ErrorAnswer("AuthorizationHeaderMalformed", "us-west-2")),
        (b"  \n " + S3_ERROR, ErrorAnswer("AuthorizationHeaderMalformed", "us-west-2")),
        (b"<Error xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Code>NoSuchKey</Code></Error>", "NoSuchKey"),
        (b"<s:Error xmlns:s='urn:x'><s:Code>NoSuchKey</s:Code></s:Error>", "NoSuchKey"),
        (b"<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>", "Throttling"),
        (b"<Error><Code><![CDATA[SlowDown]]></Code></Error>", "SlowDown"),
        (b"<Error><Code/></Error>", None),
        (b"<Error/>", None),
        (b"<Other><Code>NoSuchKey</Code></Other>", None),
        (b"<ErrorResponse/>", None),
        (b"", None),
        (b"   ", None),
        (b"{}", None),
        (b"\x00\x01\x02", None),
        (b"<Error><Code>NoSuchKey</Code>", None),
        (b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>", None),
        (b"<html><body><h1>It works!<br></body></html>", None),
        pytest.param(b"<Error><Code>NoSuchKey</Code>" + b" " * 70_000 + b"</Error>", None, id="70 kB"),
        (b"<Error><Code>\xff\xfe</Code></Error>", None),
    ],
)
def test_an_error_body_gives_its_code_or_none_when_it_may_be_anything(
    body: bytes, expected: ErrorAnswer | str | None
) -> None:
    answer = expected if isinstance(expected, ErrorAnswer) else ErrorAnswer(expected)
    assert parse_error(body) == answer


LAUGHS = '<!DOCTYPE e [<!ENTITY a "ha">{}]><Error><Code>&z;</Code></Error>'.format(
    "".join(f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in pairwise("abcdefghijklmnopqrstuvwxyz"))
)
EXTERNAL = '<?xml version="1.0"?><!DOCTYPE e [<!ENTITY f SYSTEM "file:///etc/passwd">]><Error><Code>&f;</Code></Error>'


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(LAUGHS, id="billion laughs"),
        EXTERNAL,
        '<!DOCTYPE Error SYSTEM "http://127.0.0.1:9/e.dtd"><Error><Code>NoSuchKey</Code></Error>',
        '<!DOCTYPE e [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]><Error><Code>NoSuchKey</Code></Error>',
        '<!doctype e [<!ENTITY f "x">]><Error><Code>&f;</Code></Error>',
        "<Error><Code>&undeclared;</Code></Error>",
        "<Error><xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='/etc/passwd'/></Error>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-7"])
def test_nothing_is_expanded_or_fetched_when_xml_is_hostile(text: str, encoding: str) -> None:
    body = text.encode(encoding)
    assert parse_error(body).code is None
    for parser in (upload_id, complete_answer, versions, uploads):
        with pytest.raises(UnreadableAnswerError):
            parser(body)


def test_the_encoding_is_ignored_when_xml_declares_one() -> None:
    # Read as UTF-7, as declared, this would be a document type.
    body = b'<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE e><Error><Code>NoSuchKey</Code></Error>'
    assert parse_error(body) == ErrorAnswer()
    body = b'<?xml version="1.0" encoding="bogus"?><Error><Code>NoSuchKey</Code></Error>'
    assert parse_error(body).code == "NoSuchKey"


def test_deep_nesting_is_refused_when_xml_is_hostile() -> None:
    depth = 100_000
    body = b"<ListVersionsResult>" + b"<a>" * depth + b"</a>" * depth + b"</ListVersionsResult>"
    with pytest.raises(UnreadableAnswerError, match="too large"):
        versions(body)
    assert parse_error(body) == ErrorAnswer()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.binary(max_size=200) | st.text("<>/!&;ErroCd[]- x", max_size=60).map(str.encode))
def test_an_error_body_never_raises_when_it_is_noise(body: bytes) -> None:
    assert isinstance(parse_error(body), ErrorAnswer)


@pytest.mark.parametrize("parser", [upload_id, complete_answer, versions, uploads])
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"OK", b"<html></html>", b"<!DOCTYPE html><html/>", S3_ERROR[:50], b"<Error/>"),
        pytest.param(b" " * (9 << 20), id="9 MiB"),
    ],
)
def test_an_answer_is_unreadable_when_it_is_not_the_one_expected(
    parser: Callable[[bytes], object], body: bytes
) -> None:
    with pytest.raises(UnreadableAnswerError, match=r"^the answer [^<>]*$"):
        parser(body)


def test_the_upload_id_is_read_when_an_upload_begins() -> None:
    body = b"""<?xml version="1.0" encoding="UTF-8"?>
    <InitiateMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>b</Bucket><Key>k</Key>
    <UploadId>a&amp;b+/=</UploadId></InitiateMultipartUploadResult>"""
    assert upload_id(body) == "a&b+/="


@pytest.mark.parametrize(
    "body",
    [
        "<CreateMultipartUploadResponse><UploadId>u</UploadId></CreateMultipartUploadResponse>",  # moto 5.2.0
        "<CreateMultipartUploadOutput><UploadId>u</UploadId></CreateMultipartUploadOutput>",  # LocalStack 2.0
        '<s:InitiateMultipartUploadResult xmlns:s="urn:x"><s:UploadId>u</s:UploadId></s:InitiateMultipartUploadResult>',
        "<Answer><InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult></Answer>",
    ],
)
def test_the_upload_id_is_read_when_the_root_has_another_name(body: str) -> None:
    assert upload_id(body.encode()) == "u"


@pytest.mark.parametrize(
    "body",
    [
        b"<Error><Code>NoSuchUpload</Code><UploadId>u</UploadId></Error>",
        b"<ErrorResponse><Error><Code>NoSuchUpload</Code><UploadId>u</UploadId></Error></ErrorResponse>",
        b"<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>",
    ],
)
def test_no_upload_has_begun_when_a_200_contains_an_error_or_no_id(body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        upload_id(body)


def test_a_complete_is_read_when_the_root_has_another_name() -> None:
    for root in ("CompleteMultipartUploadOutput", "CompleteMultipartUploadResponse", "Answer"):
        assert complete_answer(f"<{root}><ETag>e</ETag></{root}>".encode()) == Completed(etag="e")
    with pytest.raises(UnreadableAnswerError):
        complete_answer(b"<Answer><Location>l</Location></Answer>")
    wrapped = b"<ErrorResponse><Error><Code>InternalError</Code></Error></ErrorResponse>"
    assert complete_answer(wrapped) == Completed(code="InternalError")


def test_a_page_is_read_when_the_root_has_another_name() -> None:
    version = b"<Version><Key>k</Key><VersionId>v</VersionId></Version>"
    upload = b"<Upload><Key>k</Key><UploadId>u</UploadId></Upload>"
    entry = b"<Contents><Key>k</Key></Contents>"
    for root in (b"ListObjectVersionsOutput", b"ListBucketResult", b"Answer"):
        assert versions(b"<%s>%s</%s>" % (root, version, root)).entries[0].version_id == "v"
    for root in (b"ListMultipartUploadsOutput", b"Answer"):
        assert uploads(b"<%s>%s</%s>" % (root, upload, root)).entries[0].upload_id == "u"
    for root in (b"ListObjectsV2Response", b"Answer"):
        assert objects(b"<%s>%s</%s>" % (root, entry, root)).entries == ("k",)
    assert versions(b"<ListObjectVersionsResponse/>").entries == ()


def test_a_page_is_unreadable_when_the_store_answered_another_request() -> None:
    listing = b"<ListBucketResult><KeyCount>1</KeyCount><Contents><Key>k</Key></Contents></ListBucketResult>"
    error = b"<Error><Code>InternalError</Code><Contents/><Version/><Upload/></Error>"
    for parser, body in (
        (versions, listing),
        (uploads, listing),
        (versions, error),
        (uploads, error),
        (objects, error),
    ):
        with pytest.raises(UnreadableAnswerError):
            parser(body)


def test_an_error_names_the_option_when_its_body_names_the_header() -> None:
    body = "<Error><Code>InvalidArgument</Code><Message>Unsupported header '{}' received.</Message></Error>"
    assert parse_error(body.format("x-amz-checksum-crc64nvme").encode()).lacks == "checksums"
    assert parse_error(body.format("x-amz-sdk-checksum-algorithm").encode()).lacks == "checksums"
    aws = b"<Error><Code>NotImplemented</Code><Header>If-None-Match</Header></Error>"
    assert parse_error(aws).lacks == "conditional_writes"
    assert parse_error(body.format("x-amz-acl").encode()).lacks is None
    assert parse_error(body.format("x-amz-checksum-crc64nvme and If-None-Match").encode()).lacks is None


def test_an_error_inside_is_seen_when_complete_answers_with_200() -> None:
    kept_alive = b'<?xml version="1.0" encoding="UTF-8"?>\n' + b" " * 500
    assert complete_answer(kept_alive + S3_ERROR.partition(b"\n")[2]).code == "AuthorizationHeaderMalformed"
    assert complete_answer(b"<Error><Code>InternalError</Code></Error>") == Completed(code="InternalError")


def test_etag_and_checksum_are_read_when_complete_succeeds() -> None:
    body = b"""<CompleteMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Location>l</Location>
    <ETag>&quot;abc-2&quot;</ETag><ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME>
    <ChecksumType>FULL_OBJECT</ChecksumType></CompleteMultipartUploadResult>"""
    assert complete_answer(body) == Completed(etag='"abc-2"', checksum="AAAAAAAAAAA=")


def test_the_parts_are_in_order_when_a_complete_is_requested() -> None:
    body = complete_request([(10, '"c"', None), (2, '"b<&>"', "AAAAAAAAAAA="), (1, '"a"', "BBBBBBBBBBB=")])
    namespace = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}
    parts = ElementTree.fromstring(body).findall("s3:Part", namespace)
    assert [
        tuple(part.findtext(f"s3:{name}", None, namespace) for name in ("PartNumber", "ETag", "ChecksumCRC64NVME"))
        for part in parts
    ] == [("1", '"a"', "BBBBBBBBBBB="), ("2", '"b<&>"', "AAAAAAAAAAA="), ("10", '"c"', None)]


VERSIONS = """<?xml version="1.0" encoding="UTF-8"?>
<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>k</Prefix>{more}
<DeleteMarker><Key>{key}</Key><VersionId>v3</VersionId><IsLatest>true</IsLatest>
<LastModified>2026-11-23T12:00:00.000Z</LastModified></DeleteMarker>
<Version><Key>{key}</Key><VersionId>v2</VersionId><IsLatest>false</IsLatest>
<LastModified>2026-11-23T11:00:00.123456789Z</LastModified><ETag>&quot;e&quot;</ETag><Owner><ID>o</ID></Owner></Version>
<Version><Key>{key}2</Key><VersionId>null</VersionId><IsLatest>false</IsLatest><LastModified>soon</LastModified></Version>
</ListVersionsResult>"""


def test_versions_and_delete_markers_come_in_order_when_a_page_is_read() -> None:
    page = versions(VERSIONS.format(key="a&amp;b&lt; ü", more="<IsTruncated>false</IsTruncated>").encode())
    assert page.next_markers == ()
    assert page.entries == (
        Version("a&b< ü", "v3", is_delete_marker=True),
        Version("a&b< ü", "v2", is_delete_marker=False),
        Version("a&b< ü2", "null", is_delete_marker=False),
    )


def test_keys_and_markers_are_decoded_when_the_answer_says_that_they_are_encoded() -> None:
    more = (
        "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
        "<NextKeyMarker>a+b%2B%01</NextKeyMarker><NextVersionIdMarker>v+1</NextVersionIdMarker>"
    )
    page = versions(VERSIONS.format(key="%C3%BC/%E7%A9%BA+%2B%26%3F%3D%2541%23x%01", more=more).encode())
    assert page.entries[0].key == "ü/空 +&?=%41#x\x01"
    assert page.next_markers == (("key-marker", "a b+\x01"), ("version-id-marker", "v+1"))


def test_keys_are_not_decoded_when_the_answer_does_not_say_that_they_are_encoded() -> None:
    assert versions(VERSIONS.format(key="a+b%2B", more="").encode()).entries[0].key == "a+b%2B"


def test_a_page_is_unreadable_when_it_is_truncated_and_does_not_say_where() -> None:
    body = VERSIONS.format(key="k", more="<IsTruncated>true</IsTruncated>").encode()
    with pytest.raises(UnreadableAnswerError, match="NextKeyMarker"):
        versions(body)


def test_a_page_is_unreadable_when_an_entry_has_no_key() -> None:
    with pytest.raises(UnreadableAnswerError, match="Key"):
        versions(b"<ListVersionsResult><Version><VersionId>v</VersionId></Version></ListVersionsResult>")


def test_open_uploads_and_markers_are_read_when_a_page_is_truncated() -> None:
    page = uploads(
        b"""<ListMultipartUploadsResult xmlns="urn:other"><EncodingType>url</EncodingType>
        <NextKeyMarker>k%202</NextKeyMarker><NextUploadIdMarker>u2</NextUploadIdMarker><IsTruncated>true</IsTruncated>
        <Upload><Key>k%201</Key><UploadId>u1</UploadId><Initiated>2026-11-23T12:00:00Z</Initiated></Upload>
        <Upload><Key>k%202</Key><UploadId>u2</UploadId><Initiated>2026-11-23T12:00:00</Initiated></Upload>
        </ListMultipartUploadsResult>"""
    )
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert page.entries == (OpenUpload("k 1", "u1", moment), OpenUpload("k 2", "u2", moment))
    assert page.next_markers == (("key-marker", "k 2"), ("upload-id-marker", "u2"))


def test_only_the_key_marker_is_sent_on_when_s3_names_no_other() -> None:
    page = uploads(
        b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
        b"<NextUploadIdMarker/></ListMultipartUploadsResult>"
    )
    assert page.entries == ()
    assert page.next_markers == (("key-marker", "k"),)


def test_the_last_key_is_the_marker_when_a_store_names_only_the_other() -> None:
    page = uploads(
        b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextUploadIdMarker>u1</NextUploadIdMarker>"
        b"<Upload><Key>k 1</Key><UploadId>u1</UploadId></Upload></ListMultipartUploadsResult>"
    )
    assert page.next_markers == (("key-marker", "k 1"), ("upload-id-marker", "u1"))
    assert page.entries[0].initiated is None
