"""`AWS_ACCOUNT_*`: what is an account, what is a fault; no fault shows a value."""

import json
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from file.logic.values import Account
from file.s3.address import address_of
from mentumfileupload.config.accounts import KEYS, doubts, read_accounts
from tests.unit.s3.conftest import all_regions

Write = Callable[..., str]


def read_nothing(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


def read(environment: Mapping[str, str]) -> tuple[tuple[Account, ...], tuple[str, ...]]:
    return read_accounts(environment, read_nothing)


def accounts_of(environment: Mapping[str, str]) -> tuple[Account, ...]:
    accounts, faults = read(environment)
    assert faults == ()
    return accounts


def fault_of(text: str) -> str:
    accounts, (fault,) = read({"AWS_ACCOUNT_A": text})
    assert not accounts
    return fault


def test_every_variable_is_an_account_when_it_has_the_prefix(account_json: Write) -> None:
    texts = {f"AWS_ACCOUNT_{name}": account_json(s3_bucket_name=f"files-{name.lower()}") for name in ("B", "A", "EU1")}
    accounts = accounts_of({**texts, "AWS_REGION": "x", "HOME": "/"})
    assert [account.name for account in accounts] == ["A", "B", "EU1"]
    assert accounts[2].s3_bucket_name == "files-eu1"
    assert accounts[0].secret_access_key == "$ecret/with+signs="


def test_the_sdk_s_own_variables_are_no_accounts_when_they_are_set(account_json: Write) -> None:
    of_sdk = {"AWS_ACCOUNT_ID": "123456789012", "AWS_ACCOUNT_ID_ENDPOINT_MODE": "preferred"}
    accounts = accounts_of({**of_sdk, "AWS_ACCOUNT_A": account_json()})
    assert [account.name for account in accounts] == ["A"]


def test_at_least_one_account_is_required_when_there_is_none() -> None:
    accounts, (fault,) = read({"AWS_ACCOUNT_ID": "123456789012"})
    assert accounts == ()
    assert "at least one" in fault


def test_all_keys_arrive_when_all_are_given(account_json: Write) -> None:
    optional = {
        "endpoint_url": "http://127.0.0.1:8333",
        "allow_http": True,
        "session_token": "token",
        "prefix": "in/ü/",
        "expected_bucket_owner": "012345678901",
        "server_side_encryption": "aws:kms",
        "kms_key_id": "alias/key",
        "storage_class": "STANDARD_IA",
        "addressing": "virtual",
        "conditional_writes": False,
        "checksums": False,
        "versions": False,
    }
    text = account_json(**optional)
    assert set(json.loads(text)) == set(KEYS)
    (account,) = accounts_of({"AWS_ACCOUNT_A": text})
    assert {key: getattr(account, key) for key in optional} == optional


@pytest.mark.parametrize(
    "quote", [str, " {} ".format, "'{}'".format, json.dumps], ids=["none", "spaces", "quotes", "JSON"]
)
def test_an_account_is_read_when_docker_did_not_remove_the_quotes(
    quote: Callable[[str], str], account_json: Write
) -> None:
    (account,) = accounts_of({"AWS_ACCOUNT_A": quote(account_json(prefix="in/"))})
    assert (account.access_key_id, account.prefix) == ("AKIAEXAMPLE", "in/")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "AWS_ACCOUNT_A: is empty"),
        ("  ", "AWS_ACCOUNT_A: is empty"),
        ("''", "AWS_ACCOUNT_A: is not valid JSON: line 1, column 1: Expecting value"),
        ('{"access_key_id": "SECRETSECRET" ', "AWS_ACCOUNT_A: is not valid JSON: line 1, column 33: "),
        ('{"access_key_id": "SECRET\\q"}', "column 26: Invalid \\escape"),
        ('["SECRET"]', "must be a JSON object"),
        ('"SECRET"', "not valid JSON"),
        ("[" * 100_000, "too deeply nested"),
        ("1" * 5_000, "too long"),
        ('{"prefix": "a", "prefix": "b"}', "has the key 'prefix' more than once"),
    ],
)
def test_a_fault_names_the_place_when_the_json_is_wrong(text: str, says: str) -> None:
    fault = fault_of(text)
    assert fault.startswith("AWS_ACCOUNT_A: ")
    assert says in fault
    assert "SECRET" not in fault
    assert "\n" not in fault


@pytest.mark.parametrize("key", ["access_key_id", "secret_access_key", "region_name", "s3_bucket_name"])
def test_a_fault_names_the_key_when_a_needed_one_is_missing(key: str, account_json: Write) -> None:
    assert fault_of(account_json(**{key: None})) == f"AWS_ACCOUNT_A: the key {key!r} is missing"


def test_a_fault_names_the_nearest_key_when_one_is_unknown(account_json: Write) -> None:
    assert fault_of(account_json(endpoint="x")).endswith("the key 'endpoint' is unknown; did you mean 'endpoint_url'?")


def test_a_fault_does_not_repeat_an_unknown_key_when_it_may_be_a_secret(account_json: Write) -> None:
    assert "Xk29" not in fault_of(account_json(**{"Xk29secretSECRET/+": "x"}))


BUCKET_IN_HOST = [
    *("https://files-a.region.provider", "https://FILES-A.region.provider:8443/"),
    *("https://files-a.s3.eu-central-1.amazonaws.com", "https://files-a.s3-accelerate.amazonaws.com"),
]
BUCKET_IN_PATH = [
    *("https://host/files-a", "https://host:8443/base/files-a/", "https://s3.eu-central-1.amazonaws.com/files-a"),
]
FAULTY: list[tuple[str, str, Sequence[object]]] = [
    ("access_key_id", "is empty", [""]),
    ("prefix", "is empty", [""]),
    ("secret_access_key", "must be text", [12]),
    ("session_token", "must be text", [["x"]]),
    ("allow_http", "true or false", ["true"]),
    ("checksums", "true or false", [0]),
    ("access_key_id", "slashes", ["AKIA/X"]),
    ("secret_access_key", "without spaces", ["with space ", "line\nbreak"]),
    ("region_name", "region", ["eu central"]),
    ("region_name", "lower case", ["EU-CENTRAL-1"]),
    ("expected_bucket_owner", "12 digits", ["12345", "１２３４５６７８９０１２"]),
    ("expected_bucket_owner", "must be text", [123456789012]),
    ("server_side_encryption", "AES256", ["aes256"]),
    ("kms_key_id", "server_side_encryption", ["alias/x"]),
    ("storage_class", "storage class", ["cold"]),
    ("addressing", "virtual or path", ["Path"]),
    ("s3_bucket_name", "bucket", ["ab", "Files", "a..b", "10.0.0.1", "arn:aws:s3:::files"]),
    ("s3_bucket_name", "general purpose", ["xn--files", "files--use1-az4--x-s3"]),
    ("prefix", "slash", ["/in"]),
    ("prefix", "segment", ["a/../b", "./a"]),
    ("prefix", "control", ["a\u0000b", "a\u0085b"]),
    ("prefix", "surrogate", ["\ud800"]),
    ("prefix", "512 bytes", ["ü" * 257]),
    ("endpoint_url", "https://", ["ftp://host", "127.0.0.1:9000"]),
    ("endpoint_url", "allow_http", ["http://host:9000"]),
    ("endpoint_url", "password", ["https://user:pass@host", "https://@host"]),
    ("endpoint_url", "query", ["https://host/?x=1"]),
    ("endpoint_url", "fragment", ["https://host/#"]),
    ("endpoint_url", "path", ["https://host/../x"]),
    ("endpoint_url", "host", ["https://", "https://[::1"]),
    ("endpoint_url", "port", ["https://host:99999"]),
    ("endpoint_url", "spaces", ["https://ho st"]),
    ("endpoint_url", "characters", ["https://höst"]),
    ("endpoint_url", "not https://bucket.region.provider", BUCKET_IN_HOST),
    ("endpoint_url", "not https://host/bucket", BUCKET_IN_PATH),
    ("versions", "cannot be false on AWS", [False]),
]


@pytest.mark.parametrize(
    ("key", "says", "value"), [(key, says, value) for key, says, values in FAULTY for value in values]
)
def test_a_fault_names_variable_and_key_when_a_value_is_not_valid(
    key: str, says: str, value: object, account_json: Write
) -> None:
    fault = fault_of(account_json(**{key: value}))
    assert fault.startswith(f"AWS_ACCOUNT_A: the key {key!r} ")
    assert says in fault
    assert "\n" not in fault


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint_url": "https://files-ab.region.provider"},
        {"endpoint_url": "https://files-a"},
        {"endpoint_url": "https://host/files-a/base"},
        {"endpoint_url": "https://host/my-files-a"},
        {"endpoint_url": "https://127.0.0.1:9000", "s3_bucket_name": "127"},
        {"endpoint_url": "https://minio.company.org", "s3_bucket_name": "minio", "addressing": "path"},
        {"endpoint_url": "https://bucket.vpce-1-2.s3.eu-central-1.vpce.amazonaws.com", "s3_bucket_name": "bucket"},
        {"endpoint_url": "https://storage.example", "versions": False},
        {"endpoint_url": "http://[::1]:9000/store", "allow_http": True},
    ],
)
def test_an_endpoint_is_accepted_when_it_does_not_contain_the_bucket_s_name(
    changes: dict[str, object], account_json: Write
) -> None:
    assert len(accounts_of({"AWS_ACCOUNT_A": account_json(**changes)})) == 1


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("addressing", {"addressing": "path"}),
        ("s3_bucket_name", {"s3_bucket_name": "files.a"}),
        ("s3_bucket_name", {"s3_bucket_name": "Files_a"}),
    ],
)
def test_a_fault_names_the_key_when_transfer_acceleration_does_not_allow_its_value(
    key: str, changes: dict[str, str], account_json: Write
) -> None:
    fault = fault_of(account_json(endpoint_url="https://s3-accelerate.amazonaws.com", **changes))
    assert fault.startswith(f"AWS_ACCOUNT_A: the key {key!r} ")


ISO = {"region_name": "us-iso-east-1"}
STORE = {"endpoint_url": "https://s.example"}


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ({}, {}, True),
        ({}, {"region_name": "us-east-1"}, True),
        ({}, {"prefix": "other/"}, True),
        ({}, {"endpoint_url": "https://s3.eu-central-1.amazonaws.com"}, True),
        ({}, {"region_name": "cn-north-1"}, False),
        ({}, {"region_name": "us-gov-west-1"}, False),
        ({}, {"endpoint_url": "https://store.example"}, False),
        ({"endpoint_url": "https://store.example"}, {"endpoint_url": "https://STORE.example.:443/"}, True),
        ({"endpoint_url": "https://store.example"}, {"endpoint_url": "https://store.example:8443"}, False),
        ({"endpoint_url": "https://store.example/a"}, {"endpoint_url": "https://store.example/b"}, False),
        ({}, {"s3_bucket_name": "files-b"}, False),
        ({}, {"endpoint_url": "https://s3-fips.us-east-1.amazonaws.com"}, True),
        ({}, {"endpoint_url": "https://s3.dualstack.us-east-1.amazonaws.com."}, True),
        ({}, {"endpoint_url": "https://s3-eu-west-1.amazonaws.com", "addressing": "virtual"}, True),
        ({}, {"endpoint_url": "https://s3-accelerate.dualstack.amazonaws.com"}, True),
        (ISO, {**ISO, "endpoint_url": "https://s3.c2s.ic.gov"}, True),
        (ISO, {"region_name": "us-isob-east-1"}, False),
        ({}, {"endpoint_url": "https://amazonaws.com.example"}, False),
        (STORE, {"endpoint_url": "https://S.example/", "addressing": "virtual"}, True),
        (STORE, {"endpoint_url": "http://s.example", "allow_http": True}, True),
        ({"endpoint_url": "https://s.example//a/"}, {"endpoint_url": "https://s.example/a"}, True),
        (STORE, {"endpoint_url": "https://s.example:80"}, False),
        ({"endpoint_url": "https://[::1]:9000"}, {"endpoint_url": "https://[0:0:0:0:0:0:0:1]:9000"}, True),
        (STORE, {"endpoint_url": "https://files-a.s.example", "addressing": "path"}, True),
    ],
)
def test_two_accounts_with_one_bucket_are_a_fault_when_it_is_the_same_bucket(
    first: dict[str, str], second: dict[str, str], shared: bool, account_json: Write
) -> None:
    _, faults = read({"AWS_ACCOUNT_A": account_json(**first), "AWS_ACCOUNT_B": account_json(**second)})
    expected = "AWS_ACCOUNT_B: the key 's3_bucket_name' names the same bucket as AWS_ACCOUNT_A"
    assert faults == ((expected,) if shared else ())


@pytest.mark.parametrize(
    ("plain", "with_bucket"),
    [
        ("https://region.provider", "https://files-a.region.provider"),
        ("https://region.provider:443/", "https://FILES-A.Region.provider/"),
        ("https://host:8443", "https://host:8443/files-a"),
        ("https://host/base", "https://host:443/base/files-a/"),
        (None, "https://files-a.s3.eu-central-1.amazonaws.com"),
        (None, "https://s3.amazonaws.com/files-a"),
    ],
)
def test_there_are_two_faults_when_one_of_two_accounts_has_the_bucket_in_its_endpoint(
    plain: str | None, with_bucket: str, account_json: Write
) -> None:
    urls = {"A": plain, "B": with_bucket}
    texts = {f"AWS_ACCOUNT_{name}": account_json(endpoint_url=url) for name, url in urls.items()}
    accounts, (of_endpoint, of_bucket) = read(texts)
    assert [account.name for account in accounts] == ["A"]
    assert of_endpoint.startswith("AWS_ACCOUNT_B: the key 'endpoint_url' has the bucket's name ")
    assert of_bucket == "AWS_ACCOUNT_B: the key 's3_bucket_name' names the same bucket as AWS_ACCOUNT_A"


@pytest.mark.parametrize(
    ("region", "likely"),
    [
        ("eu-central-1a", "eu-central-1"),
        ("aws-global", "us-east-1"),
        ("us-east1", "us-east-1"),
        ("useast-1", "us-east-1"),
        ("eu-centrall-1", "eu-central-1"),
        ("ap-southeast-02", "ap-southeast-2"),
        ("eu", "eu-west-1"),
        ("garage", None),
    ],
)
@pytest.mark.parametrize("endpoint", [None, "https://s3-accelerate.amazonaws.com"])
def test_the_likely_region_is_named_when_aws_cannot_have_the_one_that_is_given(
    region: str, likely: str | None, endpoint: str | None, account_json: Write
) -> None:
    accounts = accounts_of({"AWS_ACCOUNT_A": account_json(region_name=region, endpoint_url=endpoint)})
    (doubt,) = doubts(accounts)
    assert doubt.startswith("AWS_ACCOUNT_A: the key 'region_name' is not a name that a region of AWS can have; ")
    assert doubt.endswith(f"{likely} is probably meant" if likely else "the bucket's properties tell it")


@pytest.mark.parametrize(
    "changes",
    [
        *({"region_name": region} for region in all_regions()),
        *({"region_name": region} for region in ("eu-west-99", "us-gov-central-1", "eusc-fr-west-1", "sa-west-2")),
        {"region_name": "auto", "endpoint_url": "https://store.example"},
        {"region_name": "garage", "endpoint_url": "https://store.example"},
    ],
)
def test_no_region_is_doubted_when_it_is_one_of_aws_or_the_store_is_another(
    changes: dict[str, str], account_json: Write
) -> None:
    accounts, _ = read({"AWS_ACCOUNT_A": account_json(**changes)})
    assert len(accounts) == 1
    assert doubts(accounts) == ()


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("AWS_ACCOUNT_", "name of an account may only have"),
        ("AWS_ACCOUNT_EU-WEST", "name of an account may only have"),
        ("AWS_ACCOUNT__FILE", "name of an account may only have"),
        ("AWS_ACCOUNT_ID_FILE", "AWS SDK"),
        ("AWS_ACCOUNT_X_FILE_FILE", "cannot end in _FILE"),
        ("AWS_ACCOUNT_X_FILE", "cannot end in _FILE"),
    ],
)
def test_a_fault_says_why_when_a_name_is_impossible(variable: str, says: str, account_json: Write) -> None:
    accounts, (fault,) = read({variable: account_json()})
    assert accounts == ()
    assert fault.startswith(f"{variable}: ")
    assert says in fault


def test_two_spellings_of_one_name_are_a_fault_when_both_are_set(account_json: Write) -> None:
    _, faults = read({"AWS_ACCOUNT_EU": account_json(), "AWS_ACCOUNT_eu": account_json(s3_bucket_name="files-b")})
    assert faults == ("AWS_ACCOUNT_eu: describes the same account as AWS_ACCOUNT_EU; keep one of them",)


def test_no_fault_shows_a_value_when_the_text_is_cut_at_any_place(account_json: Write) -> None:
    whole = account_json(access_key_id="Q" * 20, secret_access_key="Q" * 40, session_token="Q" * 60, prefix="Q\\/Q")
    for end in range(1, len(whole)):
        for text in (whole[:end], whole[end:], whole[:end] + "\\x" + whole[end:]):
            _, faults = read({"AWS_ACCOUNT_A": text})
            assert not any("QQ" in fault for fault in faults), faults


SCHEMES, HOSTS = some.sampled_from(["http", "https"]), some.text("aZ0.:-_[]@", max_size=12)


@settings(deadline=None)
@given(
    bucket=some.text("aZ0.-_", min_size=1, max_size=70),
    region=some.sampled_from(["us-east-1", "auto", "RegionOne"]) | some.text("aZ0-", min_size=1, max_size=10),
    endpoint=some.none() | some.builds("{}://{}{}".format, SCHEMES, HOSTS, some.text("/a.~%", max_size=6)),
)
def test_an_account_has_an_address_when_no_fault_was_found(bucket: str, region: str, endpoint: str | None) -> None:
    needed = {"access_key_id": "a", "secret_access_key": "b", "region_name": region, "s3_bucket_name": bucket}
    text = json.dumps({**needed, "allow_http": True, **({"endpoint_url": endpoint} if endpoint else {})})
    accounts, faults = read({"AWS_ACCOUNT_A": text})
    assert bool(accounts) != bool(faults)
    for account in accounts:
        assert address_of(account).host
