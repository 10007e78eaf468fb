"""Our signatures equal botocore's for random requests, to the last byte of the Authorization header."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from file.logic.values import Account
from file.s3.sigv4 import Signer, encode_path, encode_query
from tests.unit.s3.conftest import aws_account

AWKWARD_KEYS = [
    *("ü/ñ 空 +&?=%41#x", "a//b", "trail/", "", "~._-", "a%2Fb", "//", "dir/..x"),
    "'()*!$,;:@[]\"<>\\^`{|}\x7f",
]


def sign_by_botocore(
    owner: Account,
    method: str,
    host: str,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    moment: datetime,
) -> dict[str, str]:
    """The steps of botocore's `add_auth`, with the moment given instead of read from the clock."""
    auth: Any = S3SigV4Auth(
        Credentials(owner.access_key_id, owner.secret_access_key, owner.session_token), "s3", owner.region_name
    )
    encoded = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    request = AWSRequest(method, f"https://{host}{path}" + (f"?{encoded}" if encoded else ""), headers)
    request.context["timestamp"] = moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    auth._modify_request_before_signing(request)
    to_sign = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(to_sign, request))
    return {name.lower(): value for name, value in request.headers.items()}


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
header_names = st.sampled_from(
    [
        *("content-type", "content-md5", "x-amz-checksum-crc64nvme", "x-amz-meta-mentum-file-id", "x-amz-meta-a"),
        *("x-amz-meta-b", "if-none-match", "if-match", "range", "user-agent", "expect", "x-amz-expected-bucket-owner"),
        *("x-amz-storage-class", "content-length", "x-amz-server-side-encryption", "cache-control", "connection"),
        "traceparent",
    ]
)
queries = st.one_of(
    st.sampled_from(
        [
            [],
            [("uploads", "")],
            [("versionId", "null")],
            [("partNumber", "1"), ("uploadId", "a/b+c==~.-_")],
            [("versions", ""), ("prefix", "ü/ ñ+&="), ("encoding-type", "url"), ("max-keys", "2")],
            [("a", "2"), ("a", "10"), ("a-b", ""), ("A", "%41"), ("a", "")],
        ]
    ),
    st.lists(st.tuples(text.filter(bool), text), max_size=5),
)
moments = st.datetimes(datetime(2015, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE"]),
    host=st.sampled_from(["bucket-a.s3.eu-central-1.amazonaws.com", "127.0.0.1:9000", "[::1]:8333", "localhost"]),
    key=st.one_of(st.sampled_from(AWKWARD_KEYS), text),
    query=queries,
    headers=st.dictionaries(header_names, printable, max_size=6),
    token=st.none() | st.text("ABCabc019+/=", min_size=1, max_size=60),
    region=st.sampled_from(["us-east-1", "eusc-de-east-1", "cn-north-1"]),
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    moment=moments,
)
@example("PUT", "localhost", "k", [], {"x-amz-meta-a": "  two  spaces\t and a tab "}, None, "r", "s", datetime.now(UTC))
def test_authorization_equals_botocores_when_a_request_is_signed(
    method: str,
    host: str,
    key: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    token: str | None,
    region: str,
    secret: str,
    moment: datetime,
) -> None:
    owner = aws_account(session_token=token, region_name=region, secret_access_key=secret)
    path = f"/bucket-a/{encode_path(key)}"
    ours = Signer(owner).sign(method, host, path, query, headers, moment)
    assert "authorization" in ours
    assert ours == sign_by_botocore(owner, method, host, path, query, headers, moment)


def test_the_key_of_the_day_follows_the_moment_when_midnight_passes_in_either_direction() -> None:
    owner = aws_account()
    signer = Signer(owner)
    late = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    for moment in (late, late + timedelta(seconds=1), late, late + timedelta(days=1), late):
        expected = sign_by_botocore(owner, "GET", "h", "/b", [], {}, moment)
        assert signer.sign("GET", "h", "/b", [], {}, moment) == expected


def test_the_moment_is_sent_in_utc_when_it_is_in_another_zone() -> None:
    moment = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    signed = Signer(aws_account()).sign("GET", "h", "/", [], {}, moment)
    assert signed["x-amz-date"] == "20251231T233000Z"
    assert "/20251231/" in signed["authorization"]


def test_each_account_has_its_own_signature_when_the_headers_are_the_same() -> None:
    headers, moment = {"content-type": "text/plain", "x-amz-meta-a": "b"}, datetime.now(UTC)
    tokens = (None, "TOKEN-OF-B", None, "TOKEN-OF-D")
    owners = [aws_account(session_token=token, secret_access_key=f"secret-{n}") for n, token in enumerate(tokens)]
    for owner, host in zip(owners, ("a.example", "b.example", "c.example:9000", "d.example"), strict=True):
        expected = sign_by_botocore(owner, "PUT", host, "/k", [], headers, moment)
        assert Signer(owner).sign("PUT", host, "/k", [], headers, moment) == expected


def test_signing_is_refused_when_the_moment_has_no_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Signer(aws_account()).sign("GET", "h", "/", [], {}, datetime(2026, 1, 1))


def test_the_callers_headers_do_not_change_when_they_are_signed() -> None:
    headers = {"x-amz-meta-a": "b", "authorization": "of an earlier attempt"}
    signed = Signer(aws_account()).sign("GET", "h", "/", [], headers, datetime.now(UTC))
    assert headers == {"x-amz-meta-a": "b", "authorization": "of an earlier attempt"}
    assert signed["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-meta-a," in signed["authorization"]


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("ü/ñ 空 +&?=%41#x", "%C3%BC/%C3%B1%20%E7%A9%BA%20%2B%26%3F%3D%2541%23x"),
        ("a//b", "a//b"),
        ("trail/", "trail/"),
        ("./a/../b", "./a/../b"),
        ("A-Za-z0-9-._~", "A-Za-z0-9-._~"),
        ("!'()*", "%21%27%28%29%2A"),
    ],
)
def test_a_key_is_encoded_by_s3s_rule_when_it_becomes_a_path(key: str, path: str) -> None:
    assert encode_path(key) == path


def test_a_key_is_refused_when_it_is_not_utf8() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        encode_path("\udcff")


def test_the_query_is_sorted_and_encoded_when_it_is_made() -> None:
    assert encode_query([]) == ""
    assert encode_query([("uploads", "")]) == "uploads="
    assert encode_query([("uploadId", "a b+/="), ("partNumber", "1")]) == "partNumber=1&uploadId=a%20b%2B%2F%3D"


def test_no_secret_is_shown_when_a_signer_is_printed() -> None:
    owner = aws_account(session_token="TOKENTOKEN")
    signer = Signer(owner)
    signer.sign("GET", "h", "/", [], {}, datetime.now(UTC))
    shown = f"{signer!r} {signer} {owner!r}"
    assert not [secret for secret in (owner.access_key_id, owner.secret_access_key, "TOKENTOKEN") if secret in shown]
    assert not hasattr(signer, "__dict__")
