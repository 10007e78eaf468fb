"""The check-up of an account: which check fails for which fault, with which IAM action, and that nothing is left.

Permissions are taken away by a bucket policy of the real server where that knows the action, and by the fault proxy
where only AWS would tell the difference.
"""

import dataclasses
import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from file.accounts.checkup.checks import ACTIONS, CHECKS
from file.accounts.checkup.diagnosis import CheckState
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import NewBucket
from tests.unit.accounts.checkup.checkups import OWNER, checked, crosses, denial, of, states
from tests.unit.s3.carelessstore import CarelessStore, Denies
from tests.unit.s3.rawserver import answering

Accounts = dict[str, StoreAccount]
Proxied = Callable[[str], FaultProxy]
Deny = Callable[..., AbstractContextManager[None]]

PAGE = Path(__file__).resolve().parents[4] / "docs" / "operations.md"
OF_THE_BUCKET = ("s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads")
# What the service has no need of.
OTHER_ACTIONS = """
    s3:BypassGovernanceRetention s3:DeleteObjectTagging s3:DeleteObjectVersionTagging s3:GetBucketAcl s3:GetBucketCORS
    s3:GetBucketLocation s3:GetBucketObjectLockConfiguration s3:GetBucketPolicy s3:GetBucketTagging
    s3:GetBucketVersioning s3:GetEncryptionConfiguration s3:GetLifecycleConfiguration s3:GetObjectAcl
    s3:GetObjectAttributes s3:GetObjectLegalHold s3:GetObjectRetention s3:GetObjectTagging s3:GetObjectVersionAcl
    s3:GetObjectVersionAttributes s3:GetObjectVersionTagging s3:PutBucketVersioning s3:PutLifecycleConfiguration
    s3:PutObjectAcl s3:PutObjectLegalHold s3:PutObjectRetention s3:PutObjectTagging s3:PutObjectVersionTagging
""".split()


@pytest.fixture
def deny(accounts: Accounts) -> Deny:
    """`with deny("s3:...", account)`: the server denies these actions in the account's bucket, as AWS would."""

    @contextmanager
    def denying(*actions: str, account: StoreAccount | None = None) -> Iterator[None]:
        account = account or accounts["A"]
        client, bucket = account.boto3(), account.s3_bucket_name
        resource = f"arn:aws:s3:::{bucket}"
        on = {True: [resource], False: [f"{resource}/*"]}
        statements = [
            {"Effect": "Deny", "Principal": "*", "Action": [action], "Resource": on[action in OF_THE_BUCKET]}
            for action in actions
        ]
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
        try:
            yield
        finally:
            client.delete_bucket_policy(Bucket=bucket)

    return denying


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


async def test_what_is_switched_off_is_not_asked_when_the_store_lacks_it(accounts: Accounts) -> None:
    checkup = await checked(accounts["A"], checksums=False, conditional_writes=False, expected_bucket_owner=OWNER)
    off = {"conditional put", "conditional complete", "checksum of a complete"}
    assert states(checkup, CheckState.NOT_ASKED) == off
    assert of(checkup, "conditional put").detail == '"conditional_writes" is false'
    assert of(checkup, "checksum of a complete").detail == '"checksums" is false'
    assert states(checkup, CheckState.OK) == set(CHECKS) - off  # Content-MD5 is checked in its place
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
    "s3:ListBucket": {"list objects"},  # on AWS "head of nothing", too
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
async def test_missing_action_is_named_when_a_policy_denies_it(
    action: str, keeps_versions: bool, accounts: Accounts, deny: Deny, request: pytest.FixtureRequest
) -> None:
    account = request.getfixturevalue("versioned") if keeps_versions else accounts["A"]
    with deny(action, account=account):
        checkup = await checked(account)
    expected: dict[str, str | None] = dict.fromkeys(SAID_BY_POLICY[action], action)
    if keeps_versions and action == "s3:DeleteObjectVersion":  # nothing can take a version back then
        left = {key for key, _ in account.contents().versions}
        assert left
        assert set(checkup.left) == left
        assert all(key in of(checkup, "taken back").detail for key in left)
        assert crosses(checkup) == {**expected, "taken back": None}
        return
    assert crosses(checkup) == expected
    assert all(f"allow {action} on " in of(checkup, check).detail for check in expected)
    assert not account.contents()


async def test_everything_works_when_all_is_denied_that_the_policy_of_the_page_does_not_allow(
    accounts: Accounts, deny: Deny
) -> None:
    with deny(*OTHER_ACTIONS):
        checkup = await checked(accounts["A"], expected_bucket_owner=OWNER)
    assert states(checkup, CheckState.OK) == set(CHECKS)


def test_the_policy_of_the_page_allows_what_a_check_up_names_and_nothing_else() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## What an account must allow\n")[2].partition("\n## ")[0]
    documents = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", section, re.DOTALL)]
    policy, key, lifecycle = documents
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
    section = PAGE.read_text(encoding="utf-8").partition("## Before going live\n")[2].partition("\n## ")[0]
    table = section.split("```\n")[2]
    assert re.findall(r"^(\w[\w ]+?)  +[✓✗-]", table, re.MULTILINE) == list(CHECKS)


# What no policy of the server takes away by itself.
DENIED = {
    "conditional put": (Fault.refuses("AccessDenied", operation="put", after=1), {"conditional put": "s3:PutObject"}),
    "begin": (Fault.refuses("AccessDenied", operation="begin"), {"begin": "s3:PutObject"}),
    "part": (Fault.refuses("AccessDenied", operation="part"), {"part": "s3:PutObject"}),
    "complete": (Fault.refuses("AccessDenied", operation="complete", after=1), {"complete": "s3:PutObject"}),
    "head": (Fault.refuses("AccessDenied", operation="head"), {"head": "s3:GetObject"}),
    "nothing": (Fault.refuses("AccessDenied", operation="head", after=1), {"head of nothing": "s3:ListBucket"}),
    "get": (Fault.refuses("AccessDenied", operation="get"), {"get": "s3:GetObject"}),
    "list": (
        Fault.refuses("AccessDenied", operation="list", times=None),
        {"list objects": "s3:ListBucket"},
    ),
}


@pytest.mark.parametrize("name", DENIED)
async def test_exactly_that_check_fails_when_one_request_is_denied(
    name: str, proxied: Proxied, accounts: Accounts
) -> None:
    fault, expected = DENIED[name]
    proxy = proxied("A")
    proxy.add(dataclasses.replace(fault))
    checkup = await checked(proxy.account)
    assert crosses(checkup) == expected
    assert not accounts["A"].contents()


def wants(*headers: str) -> Denies:
    """Denied is a request with one of these in its head."""
    return lambda operation, head: any(header in head for header in headers)


WITH_A_KEY = {
    # What AWS denies where the key's permission is missing: what encrypts, or what has to read what is encrypted.
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
async def test_the_key_s_action_is_told_from_s3_s_when_both_are_denied_in_one_word(
    action: str, accounts: Accounts
) -> None:
    denies, expected = WITH_A_KEY[action]
    async with CarelessStore(denies).running() as store:
        checkup = await checked(accounts["A"].at(store.url), server_side_encryption="aws:kms", kms_key_id="the-key")
    named = {check: action for check, action in crosses(checkup).items() if action}
    assert named == expected
    assert not store.objects
    assert not store.uploads


async def test_the_action_is_s3_s_own_word_when_it_names_one(accounts: Accounts) -> None:
    message = "User: arn:aws:iam::1:user/secret-name is not authorized to perform: kms:Decrypt on resource: secret-key"
    async with answering(denial(message)) as url:
        checkup = await checked(accounts["A"].at(url))
    assert of(checkup, "put").action == "kms:Decrypt"
    assert of(checkup, "list objects").action == "kms:Decrypt"
    assert "secret" not in repr(checkup.results)


async def test_no_foreign_word_is_told_when_s3_names_an_action_that_is_none_of_ours(accounts: Accounts) -> None:
    async with answering(denial("User: x is not authorized to perform: s3:PutObjectAcl on it")) as url:
        checkup = await checked(accounts["A"].at(url))
    assert of(checkup, "put").action == "s3:PutObject"
    assert "Acl" not in repr(checkup.results)
