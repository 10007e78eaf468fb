"""Our addresses equal botocore's: each partition and region, both kinds of addressing, regions of the future."""

from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.endpoint_provider import EndpointProvider

from file.logic.values import Account
from file.s3.address import Address, address_of
from tests.unit.s3.conftest import all_regions, aws_account

FUTURE_REGIONS = [
    *("eu-west-99", "sa-north-7", "mx-south-2", "us-gov-central-1", "cn-west-3", "eusc-de-south-2", "eusc-fr-west-1"),
    *("us-iso-north-1", "us-isob-west-9", "eu-isoe-south-1", "us-isof-west-4", "zz-nowhere-1", "us-new-east-1"),
]


@pytest.fixture(scope="module")
def rules() -> EndpointProvider:
    """Botocore's own rules for S3 addresses, because a client per case takes a second each."""
    loader = botocore.session.get_session().get_component("data_loader")
    return EndpointProvider(loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions"))


def address_by_rules(
    rules: EndpointProvider, region: str, bucket: str, addressing: str, *, accelerate: bool = False, dual: bool = False
) -> str:
    options = {"UseFIPS": False, "UseDualStack": dual, "Accelerate": accelerate, "ForcePathStyle": addressing == "path"}
    # Botocore's default is `us_east_1_regional_endpoint = legacy`.
    is_global = region == "us-east-1"
    return str(rules.resolve_endpoint(Region=region, Bucket=bucket, UseGlobalEndpoint=is_global, **options).url)


@pytest.mark.parametrize("bucket", ["bucket-a", "bucket.a", "b2", "a--b-3", "Bucket_A", "x" * 64, "192.168.5.4"])
@pytest.mark.parametrize("addressing", [None, "virtual", "path"])
def test_the_address_is_botocores_when_the_account_is_on_aws(
    rules: EndpointProvider, bucket: str, addressing: str | None
) -> None:
    for region in [*all_regions(), *FUTURE_REGIONS]:
        address = address_of(aws_account(region_name=region, s3_bucket_name=bucket, addressing=addressing))
        expected = address_by_rules(rules, region, bucket, addressing or "virtual")
        assert address.url(address.root) == expected, region


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("addressing", [None, "virtual"])
def test_the_bucket_is_in_the_host_when_the_endpoint_is_that_of_transfer_acceleration(
    rules: EndpointProvider, dual: bool, addressing: str | None
) -> None:
    endpoint = f"https://s3-accelerate{'.dualstack' if dual else ''}.amazonaws.com"
    for region in ("us-east-1", "eu-central-1"):
        address = address_of(aws_account(region_name=region, endpoint_url=endpoint, addressing=addressing))
        expected = address_by_rules(rules, region, "bucket-a", "virtual", accelerate=True, dual=dual)
        assert address.url(address.root) == expected


def urls_by_botocore(owner: Account, keys: tuple[str, ...]) -> list[str]:
    style: Any = {"addressing_style": owner.addressing} if owner.addressing else None
    client = boto3.client(
        "s3",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        region_name=owner.region_name,
        endpoint_url=owner.endpoint_url,
        config=Config(signature_version="s3v4", s3=style),
    )
    requests = ({"Bucket": owner.s3_bucket_name, "Key": key} for key in keys)
    return [str(client.generate_presigned_url("get_object", request)).partition("?")[0] for request in requests]


@pytest.mark.parametrize(
    "changes",
    [
        {"region_name": "us-east-1"},
        {"region_name": "eusc-de-east-1", "addressing": "path"},
        {"region_name": "cn-northwest-1", "s3_bucket_name": "bucket.a"},
        {"endpoint_url": "http://127.0.0.1:9000"},
        {"endpoint_url": "http://127.0.0.1:9000", "addressing": "virtual"},
        {"endpoint_url": "https://[::1]:9000/base/", "s3_bucket_name": "bucket.a", "addressing": "virtual"},
        {"endpoint_url": "https://store.example.com/base/of/it/", "addressing": "virtual"},
        {"endpoint_url": "https://store.example.com/base", "s3_bucket_name": "bucket.a"},
        {"endpoint_url": "http://store.example.com:8080", "s3_bucket_name": "bucket.a", "addressing": "virtual"},
        {"endpoint_url": "https://s3.eu-west-1.amazonaws.com"},
    ],
)
def test_the_whole_url_is_botocores_when_a_real_client_makes_it(changes: dict[str, str]) -> None:
    owner, keys = aws_account(**changes), ("k", "ü/ñ 空 +&?=%41#x", "a//b", "trail/", "~-._")
    address = address_of(owner)
    assert [address.url(address.path(key)) for key in keys] == urls_by_botocore(owner, keys)


@pytest.mark.parametrize(
    ("endpoint_url", "addressing", "expected"),
    [
        ("HTTP://LocalHost:80/", None, Address("http", "localhost", "/bucket-a")),
        ("https://S3.Example.COM:443/Base/", None, Address("https", "s3.example.com", "/Base/bucket-a")),
        ("https://s3.example.com:80", "virtual", Address("https", "bucket-a.s3.example.com:80", "")),
        ("http://[0:0:0:0:0:0:0:1]:8333", None, Address("http", "[::1]:8333", "/bucket-a")),
        ("http://[::1]", "virtual", Address("http", "[::1]", "/bucket-a")),
        ("http://10.0.0.7", "virtual", Address("http", "10.0.0.7", "/bucket-a")),
    ],
)
def test_the_host_is_as_it_is_sent_when_the_endpoint_is_written_otherwise(
    endpoint_url: str, addressing: str | None, expected: Address
) -> None:
    assert address_of(aws_account(endpoint_url=endpoint_url, addressing=addressing)) == expected


def test_the_path_of_the_bucket_is_given_when_there_is_no_key() -> None:
    virtual, path = address_of(aws_account()), address_of(aws_account(addressing="path"))
    assert (virtual.path(), path.path()) == ("/", "/bucket-a")
    assert (virtual.path("a b"), path.path("a b")) == ("/a%20b", "/bucket-a/a%20b")
    assert path.url(path.path(), "uploads=") == "https://s3.eu-central-1.amazonaws.com/bucket-a?uploads="


FAULTY = {
    "endpoint_url": [
        *("ftp://secret.example.com", "secret.example.com:9000", "https://secret:password@example.com"),
        *("https://example.com/?secret=1", "https://example.com/#secret", "https://example.com:secret"),
        *("https://example.com:99999999/secret", "https://[secret]/", "https://[fe80::1%25secret]/"),
        *("https://sécret.example.com", "https:///secret", "https://example.com/secret/../x"),
        *("https://example.com/secret/%2E%2e/x", "https://example.com/secret/..", "https://example.com/se cret"),
    ],
    "region_name": ["secret.example.com/", "evil.com#secret", ""],
    "s3_bucket_name": ["secret/key", ""],
    "addressing": ["secret"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in FAULTY.items() for value in values])
def test_the_key_is_named_and_not_the_value_when_an_address_cannot_be_made(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=key) as caught:
        address_of(aws_account(**{key: value}))
    assert "secret" not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None


def test_the_signed_path_equals_the_sent_one_when_the_url_is_split_again() -> None:
    address = address_of(aws_account(endpoint_url="https://example.com/base", addressing="path"))
    path = address.path("ü/ñ 空 +&?=%41#x")
    parts = urlsplit(address.url(path, "versionId=null"))
    assert (parts.netloc, parts.path, parts.query) == (address.host, path, "versionId=null")
