"""The check-up of an account: which check fails for which missing permission, and that nothing is left.

A bucket policy of the real server denies the actions that the server knows; the fault proxy denies the others.
"""

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from file.accounts.checkup.checks import ACTIONS, CHECKS
from file.accounts.checkup.diagnosis import CheckState
from testkit.account import StoreAccount
from testkit.faults.faults import Fault
from tests.buckets import NewBucket
from tests.unit.accounts.checkup.checkups import OWNER, checked, crosses, denial, of, states
from tests.unit.accounts.checkup.conftest import CheckUpOf
from tests.unit.s3.carelessstore import CarelessStore, Denies
from tests.unit.s3.rawserver import answering

Accounts = dict[str, StoreAccount]

PAGE = Path(__file__).resolve().parents[4] / "docs" / "operations.md"
OF_THE_BUCKET = ("s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads")
# Actions that the service does not need.
OTHER_ACTIONS = """
    s3:BypassGovernanceRetention s3:DeleteObjectTagging s3:DeleteObjectVersionTagging s3:GetBucketAcl s3:GetBucketCORS
    s3:GetBucketLocation s3:GetBucketObjectLockConfiguration s3:GetBucketPolicy s3:GetBucketTagging
    s3:GetBucketVersioning s3:GetEncryptionConfiguration s3:GetLifecycleConfiguration s3:GetObjectAcl
    s3:GetObjectAttributes s3:GetObjectLegalHold s3:GetObjectRetention s3:GetObjectTagging s3:GetObjectVersionAcl
    s3:GetObjectVersionAttributes s3:GetObjectVersionTagging s3:PutBucketVersioning s3:PutLifecycleConfiguration
    s3:PutObjectAcl s3:PutObjectLegalHold s3:PutObjectRetention s3:PutObjectTagging s3:PutObjectVersionTagging
""".split()


@contextmanager
def denied(account: StoreAccount, *actions: str) -> Iterator[None]:
    """The server denies these actions in the account's bucket, as AWS would."""
    client, bucket = account.boto3(), account.s3_bucket_name
    statements = [
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": [action],
            "Resource": [f"arn:aws:s3:::{bucket}" if action in OF_THE_BUCKET else f"arn:aws:s3:::{bucket}/*"],
        }
        for action in actions
    ]
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    try:
        yield
    finally:
        client.delete_bucket_policy(Bucket=bucket)


@pytest.fixture
def versioned(new_bucket: NewBucket, accounts: Accounts) -> StoreAccount:
    return new_bucket("A", f"versioned-{uuid.uuid4()}", versioned=True)


# --- what works


@pytest.mark.parametrize("prefix", [None, "in box/ü/"])
async def test_everything_works_and_nothing_is_left_when_all_is_allowed(prefix: str | None, accounts: Accounts) -> None:
    options = {"expected_bucket_owner": OWNER, **({"prefix": prefix} if prefix else {})}
    checkup = await checked(accounts["A"], **options)
    assert states(checkup, CheckState.OK) == set(CHECKS)
    assert (checkup.versioned, checkup.left) == (False, [])
    assert not accounts["A"].contents()


async def test_no_version_is_left_when_the_bucket_keeps_versions(versioned: StoreAccount) -> None:
    checkup = await checked(versioned)
    assert states(checkup, CheckState.OK) == set(CHECKS) - {"owner"}
    assert of(checkup, "owner").detail == '"expected_bucket_owner" is not set'
    assert checkup.versioned is True
    assert not versioned.contents()


async def test_a_capability_is_not_checked_when_it_is_switched_off(accounts: Accounts) -> None:
    checkup = await checked(accounts["A"], checksums=False, conditional_writes=False, expected_bucket_owner=OWNER)
    off = {"conditional put", "conditional complete", "checksum of a complete"}
    assert states(checkup, CheckState.NOT_ASKED) == off
    assert of(checkup, "conditional put").detail == '"conditional_writes" is false'
    assert of(checkup, "checksum of a complete").detail == '"checksums" is false'
    assert states(checkup, CheckState.OK) == set(CHECKS) - off  # checks Content-MD5 instead
    assert not accounts["A"].contents()


async def test_objects_of_others_stay_when_they_lie_under_the_prefix(accounts: Accounts) -> None:
    account = accounts["A"]
    account.boto3().put_object(Bucket=account.s3_bucket_name, Key="in/mentum-check-", Body=b"theirs")
    account.boto3().create_multipart_upload(Bucket=account.s3_bucket_name, Key="in/mentum-check-")
    before = account.contents()
    assert crosses(await checked(account, prefix="in/")) == {}
    assert account.contents() == before


# --- permissions

SAID_BY_POLICY = {
    "s3:AbortMultipartUpload": {"abort"},
    "s3:DeleteObject": {"delete"},
    "s3:DeleteObjectVersion": {"delete of a version"},
    "s3:GetObject": {"head", "get"},
    "s3:GetObjectVersion": {"head of a version"},
    "s3:ListBucket": {"list objects"},  # on AWS also "head of nothing"
    "s3:ListBucketMultipartUploads": {"list uploads"},
    "s3:ListBucketVersions": {"list versions"},
    "s3:ListMultipartUploadParts": {"list parts"},
    "s3:PutObject": {"put", "begin"},
}


@pytest.mark.parametrize(
    ("action", "keeps_versions"),
    [
        *((action, False) for action in SAID_BY_POLICY),
        *((action, True) for action in ("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:ListBucketVersions")),
    ],
)
async def test_a_missing_action_is_named_when_a_policy_denies_it(
    action: str, keeps_versions: bool, accounts: Accounts, request: pytest.FixtureRequest
) -> None:
    account = request.getfixturevalue("versioned") if keeps_versions else accounts["A"]
    with denied(account, action):
        checkup = await checked(account)
    expected: dict[str, str | None] = dict.fromkeys(SAID_BY_POLICY[action], action)
    if keeps_versions and action == "s3:DeleteObjectVersion":  # then no version can be removed
        left = {key for key, _ in account.contents().versions}
        assert left
        assert set(checkup.left) == left
        assert all(key in of(checkup, "taken back").detail for key in left)
        assert crosses(checkup) == {**expected, "taken back": None}
        return
    assert crosses(checkup) == expected
    assert all(f"allow {action} on " in of(checkup, check).detail for check in expected)
    assert not account.contents()


async def test_everything_works_when_all_other_actions_are_denied(accounts: Accounts) -> None:
    with denied(accounts["A"], *OTHER_ACTIONS):
        checkup = await checked(accounts["A"], expected_bucket_owner=OWNER)
    assert states(checkup, CheckState.OK) == set(CHECKS)


def section(title: str) -> str:
    return PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_policy_of_the_page_allows_what_a_check_up_names_and_nothing_else() -> None:
    documents = re.findall(r"```json\n(.*?)```", section("What an account must allow"), re.DOTALL)
    policy, key, lifecycle = map(json.loads, documents)
    allowed = [action for statement in [*policy["Statement"], key] for action in statement["Action"]]
    assert len(allowed) == len(set(allowed))
    assert set(allowed) == ACTIONS
    for statement in policy["Statement"]:
        is_of_objects = statement["Resource"].endswith("/*")
        assert all((action in OF_THE_BUCKET) != is_of_objects for action in statement["Action"])
    assert lifecycle["Rules"][0]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] > 0
    assert set(SAID_BY_POLICY) | {"kms:GenerateDataKey", "kms:Decrypt"} == ACTIONS
    assert not ACTIONS & set(OTHER_ACTIONS)


def test_the_table_of_the_page_has_every_check_in_order() -> None:
    table = section("Before going live").split("```\n")[2]
    assert re.findall(r"^(\w[\w ]+?)  +[✓✗-]", table, re.MULTILINE) == list(CHECKS)


# Requests that no policy of the server denies alone.
DENIED: dict[str, tuple[dict[str, Any], str]] = {
    "conditional put": ({"operation": "put", "after": 1}, "s3:PutObject"),
    "begin": ({"operation": "begin"}, "s3:PutObject"),
    "part": ({"operation": "part"}, "s3:PutObject"),
    "complete": ({"operation": "complete", "after": 1}, "s3:PutObject"),
    "head": ({"operation": "head"}, "s3:GetObject"),
    "head of nothing": ({"operation": "head", "after": 1}, "s3:ListBucket"),
    "get": ({"operation": "get"}, "s3:GetObject"),
    "list objects": ({"operation": "list", "times": None}, "s3:ListBucket"),
}


@pytest.mark.parametrize("check", DENIED)
async def test_exactly_that_check_fails_when_one_request_is_denied(check: str, with_faults: CheckUpOf) -> None:
    request, action = DENIED[check]
    assert crosses(await with_faults(Fault.refuses("AccessDenied", **request))) == {check: action}


def wants(*headers: str) -> Denies:
    """Denies a request with one of these in its head."""
    return lambda operation, head: any(header in head for header in headers)


WITH_A_KEY = {
    # AWS denies the requests that encrypt or decrypt if the key's permission is missing.
    "kms:GenerateDataKey": (
        wants("x-amz-server-side-encryption"),
        {"put": "kms:GenerateDataKey", "begin": "kms:GenerateDataKey"},
    ),
    "kms:Decrypt": (
        lambda operation, head: operation in ("get", "begin") or "x-amz-checksum-mode" in head,
        {"head": "kms:Decrypt", "get": "kms:Decrypt", "begin": "kms:Decrypt"},
    ),
    "s3:PutObject": (
        lambda operation, head: operation in ("put", "begin"),
        {"put": "s3:PutObject", "begin": "s3:PutObject"},
    ),
    "s3:GetObject": (
        lambda operation, head: operation in ("get", "head"),
        {"head": "s3:GetObject", "get": "s3:GetObject", "head of a version": "s3:GetObjectVersion"},
    ),
}


@pytest.mark.parametrize("action", WITH_A_KEY)
async def test_a_missing_action_is_the_key_s_or_s3_s_by_its_requests(action: str, in_store: CheckUpOf) -> None:
    denies, expected = WITH_A_KEY[action]
    checkup = await in_store(CarelessStore(denies), server_side_encryption="aws:kms", kms_key_id="the-key")
    assert {check: action for check, action in crosses(checkup).items() if action} == expected


@pytest.mark.parametrize(
    ("message", "put", "listing", "hidden"),
    [
        ("arn:secret is not authorized to perform: kms:Decrypt on secret", "kms:Decrypt", "kms:Decrypt", "secret"),
        ("x is not authorized to perform: s3:PutObjectAcl on it", "s3:PutObject", "s3:ListBucket", "Acl"),
    ],
    ids=["one of ours", "another"],
)
async def test_the_action_of_s3_s_message_is_named_when_it_is_one_of_ours(
    accounts: Accounts, message: str, put: str, listing: str, hidden: str
) -> None:
    async with answering(denial(f"User: {message}")) as url:
        checkup = await checked(accounts["A"].at(url))
    assert (of(checkup, "put").action, of(checkup, "list objects").action) == (put, listing)
    assert hidden not in repr(checkup.results)
