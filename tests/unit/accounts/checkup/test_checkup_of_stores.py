"""A check-up of stores that lack something names the settings to change; with these settings everything works."""

from typing import Any

import pytest

from file.accounts.checkup.diagnosis import CheckState
from file.management.reports.checkup import as_json, as_lines
from testkit.account import StoreAccount
from tests.buckets import NewBucket
from tests.unit.accounts.checkup import wellknownstores
from tests.unit.accounts.checkup.checkups import checked, crosses, of, states
from tests.unit.accounts.checkup.conftest import CheckUpOf
from tests.unit.s3.carelessstore import CarelessStore, Refuses, Request

Accounts = dict[str, StoreAccount]
CHECKSUMS, CONDITIONS, VERSIONS = '"checksums": false', '"conditional_writes": false', '"versions": false'

# A store, the crosses of the first check-up with their details, and the keys to set to false.
STORES: dict[str, tuple[Refuses, dict[str, str], tuple[str, ...]]] = {
    "Backblaze B2": (
        wellknownstores.backblaze_b2,
        {"put": f"it refuses what we send (InvalidArgument), and works without: set {CHECKSUMS}, {CONDITIONS}"},
        ("checksums", "conditional_writes"),
    ),
    "Google Cloud Storage": (
        wellknownstores.google_cloud_storage,
        {
            "put": f"it refuses what we send (ExcessHeaderValues), and works without: set {CHECKSUMS}",
            "conditional put": CONDITIONS,
            "conditional complete": CONDITIONS,
        },
        ("checksums", "conditional_writes"),
    ),
    "Cloudflare R2": (
        wellknownstores.cloudflare_r2,
        {
            "head of a version": f"it does not know this question (no code), and works without: set {VERSIONS}",
            "conditional complete": CONDITIONS,
        },
        ("conditional_writes", "versions"),
    ),
    "Garage": (
        wellknownstores.garage,
        {"list versions": f"it does not know this question (NotImplemented), and works without: set {VERSIONS}"},
        ("versions",),
    ),
    "ministack": (
        wellknownstores.ministack,
        {"complete": f"it refuses what we send (BadDigest), and works without: set {CHECKSUMS}"},
        ("checksums",),
    ),
    "moto": (wellknownstores.moto, {"head of a version": VERSIONS}, ("versions",)),
    "a gateway": (
        wellknownstores.gateway_without_words,
        {"put": f"it refuses what we send (no code), and works without: set {CONDITIONS}"},
        ("conditional_writes",),
    ),
}


def store_of(name: str) -> CarelessStore:
    headers = wellknownstores.ID_OF_A_PUT if name in ("Cloudflare R2", "Garage") else ()
    return CarelessStore(refuses=STORES[name][0], headers=headers)


@pytest.mark.parametrize("name", STORES)
async def test_the_settings_are_named_when_a_store_lacks_something(name: str, in_store: CheckUpOf) -> None:
    _, expected, keys = STORES[name]
    checkup = await in_store(store_of(name))
    assert set(crosses(checkup)) == set(expected)
    for check, words in expected.items():
        assert words in of(checkup, check).detail
    assert (checkup.cures, checkup.is_usable) == (keys, True)
    lines = ", ".join(f'"{key}": false' for key in keys)
    assert f"A: write {lines} into AWS_ACCOUNT_A, and run the check again." in as_lines([checkup])
    told: dict[str, Any] = as_json([checkup])["accounts"]["A"]
    assert (told["set_to_false"], told["usable"]) == (list(keys), True)


@pytest.mark.parametrize("name", STORES)
async def test_everything_works_when_the_settings_are_changed(name: str, in_store: CheckUpOf) -> None:
    checkup = await in_store(store_of(name), **dict.fromkeys(STORES[name][2], False))
    assert crosses(checkup) == {}
    assert states(checkup, CheckState.OK) >= {"put", "head of a version", "list versions", "complete", "delete"}
    assert (checkup.cures, checkup.left) == ((), [])


async def test_no_setting_is_named_when_a_store_cannot_be_used_with_any(accounts: Accounts) -> None:
    async with CarelessStore(refuses=wellknownstores.s3rver).running() as store:
        checkup = await checked(accounts["A"].at(store.url))
    assert set(crosses(checkup)) == {"list versions", "list parts", "list uploads", "abort"}
    for check in ("list parts", "list uploads", "abort"):
        assert "this store cannot be used" in of(checkup, check).detail
        assert "false" not in of(checkup, check).detail
    assert not checkup.is_usable
    lines = list(as_lines([checkup]))
    assert "A: this store cannot be used; docs/stores.md lists stores that can." in lines
    assert not any("write" in line for line in lines)
    assert not store.objects


async def test_a_store_cannot_be_used_when_it_keeps_versions_and_does_not_list_them(accounts: Accounts) -> None:
    def refuses(store: CarelessStore, request: Request) -> bytes | None:
        if request.operation == "head" and request.key in store.objects:
            return b'HTTP/1.1 200 OK\r\nContent-Length: 66\r\nETag: "e"\r\nx-amz-version-id: v1\r\n\r\n'
        return wellknownstores.garage(store, request)

    async with CarelessStore(refuses=refuses, headers=("x-amz-version-id: v1",)).running() as store:
        checkup = await checked(accounts["A"].at(store.url))
    assert "it keeps versions and does not know this question" in of(checkup, "list versions").detail
    assert "versions" not in checkup.cures
    assert not checkup.is_usable


async def test_versions_have_a_cross_when_the_bucket_keeps_them(new_bucket: NewBucket, accounts: Accounts) -> None:
    account = new_bucket("A", "keeps-versions-after-all", versioned=True)
    checkup = await checked(account, versions=False)
    assert set(crosses(checkup)) == {"head of a version", "list versions", "delete of a version"}
    assert of(checkup, "list versions").detail == 'it keeps versions: remove "versions": false'
    assert not account.contents()
