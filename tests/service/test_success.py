"""Without faults: every account gets every byte, by PUT and by form, and all accounts at the same time."""

import asyncio
import dataclasses
import hashlib
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from file.logic.values import FILE_ID, FILE_SHA256, MiB, checksum_text
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import NewBucket
from tests.files import digests_of
from tests.service.conftest import Accounts, Proxied, put, put_stored, serving, serving_client
from tests.service.owners import assert_nothing_left, assert_stored, head_of
from tests.service.receipts import assert_told
from tests.service.sizes import MANY_PARTS, ONE_PART, SIZES, content, each_size
from tests.unit.api.expectations import assert_problem

BOUNDARY = "boundary"
FORM_HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="filename"\r\n\r\nX.bin\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="y"\r\n\r\n'
).encode()
FORM_TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
FORM_TYPE = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.mark.parametrize("size", [0, 1, 5 * MiB, 8 * MiB - 1, 8 * MiB, 8 * MiB + 1, 20 * MiB])
async def test_every_account_has_every_byte_when_all_is_well(accounts: Accounts, size: int) -> None:
    body = content(size)
    async with serving_client(*accounts.values(), part_size=8 * MiB) as (_, client):
        answer = await client.put("/files/some/key", content=body, headers={"content-type": "text/x-test"})
        told = assert_told(answer, 201, dict.fromkeys("ABC"))
        form = await client.post("/upload", content=FORM_HEAD + body + FORM_TAIL, headers=FORM_TYPE)
        told_of_form = assert_told(form, 201, dict.fromkeys("ABC"))
    assert_stored(accounts.values(), {"some/key": body, told_of_form["key"]: body})
    digests = digests_of(body)
    assert (told["size"], told["sha256"]) == (size, digests.sha256.hex())
    for name, account in accounts.items():
        found = head_of(account, "some/key", ChecksumMode="ENABLED")
        assert found["ChecksumCRC64NVME"] == told["crc64nvme"] == checksum_text(digests.crc64nvme)
        assert (found["ETag"], found["ContentType"]) == (told["accounts"][name]["etag"], "text/x-test")
        assert found["Metadata"][FILE_ID] == told["id"]
        if size < 9 * MiB:  # before the first of many parts is sent, the digest is not known
            assert found["Metadata"][FILE_SHA256] == hashlib.sha256(body).hexdigest()


async def test_first_part_reaches_every_account_before_the_last_byte_arrives(
    accounts: Accounts, proxied: Proxied
) -> None:
    proxies = [proxied(name) for name in accounts]
    reached = []

    async def body(head: bytes, tail: bytes, parts: int) -> AsyncIterator[bytes]:
        yield head + content(MANY_PARTS)
        for proxy in proxies:
            await proxy.wait_until("part", parts)
        reached.append(parts)
        yield tail

    async with serving_client(*(proxy.account for proxy in proxies)) as (_, client):
        by_put = await client.put("/files/k", content=body(b"", b"last", 1))
        by_form = await client.post("/upload", content=body(FORM_HEAD, b"last" + FORM_TAIL, 3), headers=FORM_TYPE)
    told = assert_told(by_form, 201, dict.fromkeys("ABC"))
    assert_told(by_put, 201, dict.fromkeys("ABC"))
    assert reached == [1, 3]
    assert_stored(accounts.values(), dict.fromkeys(("k", told["key"]), content(MANY_PARTS) + b"last"))


@pytest.fixture(scope="session")
def more(kept_bucket: NewBucket) -> list[StoreAccount]:
    """Five more accounts, for as many buckets."""
    owners = zip("DEFGH", "ABCAB", strict=True)
    return [dataclasses.replace(kept_bucket(owner, f"bucket-{name.lower()}"), name=name) for name, owner in owners]


@pytest.mark.parametrize("count", [1, 3, 8])
async def test_accounts_are_served_at_the_same_time(accounts: Accounts, more: list[StoreAccount], count: int) -> None:
    chosen, all_began = [*accounts.values(), *more][:count], threading.Event()
    with ExitStack() as stack:
        proxies = [stack.enter_context(FaultProxy(account)) for account in chosen]
        async with serving(*(proxy.account for proxy in proxies)) as service:
            await put_stored(service, key="warm")  # opens the connections
            for proxy in proxies:
                proxy.add(Fault.holds_reply(all_began, times=None))
            uploading = asyncio.create_task(put(service, ONE_PART))
            for proxy in proxies:
                await proxy.wait_until("put", 2)
            all_began.set()
            answer = await uploading
        puts = [(await proxy.wait_until("put", 2, ended=True))[-1] for proxy in proxies]
    assert_told(answer, 201, {account.name: None for account in chosen})
    # All were under way at the same time.
    assert max(request.started for request in puts) < min(request.ended or 0 for request in puts)
    assert_stored(chosen, dict.fromkeys(("warm", "k"), content(ONE_PART)))
    for account in more:
        account.empty()


@each_size
async def test_key_stays_with_its_first_file_when_it_is_wanted_again(accounts: Accounts, size: int) -> None:
    async with serving(*accounts.values()) as service:
        await put_stored(service, size)
        assert_told(await put(service, size), 200, dict.fromkeys("ABC"))
        other = await put(service, size - 1)
    assert_problem(other, 409, "key_taken")
    assert_stored(accounts.values(), {"k": content(size)})


async def test_one_wins_when_two_uploads_go_to_one_key_at_once(accounts: Accounts, proxy: FaultProxy) -> None:
    goes_on = threading.Event()
    proxy.add(Fault.holds_reply(goes_on, operation="put"))
    async with serving(accounts["A"], proxy.account, accounts["C"]) as service:
        first = asyncio.create_task(put(service, ONE_PART))
        await proxy.wait_until("put")
        second = await put(service, 1)
        goes_on.set()
        assert_problem(second, 409, "key_busy")
        assert (await first).status_code == 201
    assert_stored(accounts.values(), {"k": content(ONE_PART)})


async def test_nothing_is_published_when_the_digest_is_refused(accounts: Accounts, proxied: Proxied) -> None:
    proxy = proxied("A")
    headers = {"content-digest": "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"}
    async with serving_client(proxy.account, accounts["B"], accounts["C"]) as (_, client):
        for size in SIZES:
            assert_problem(await client.put("/files/k", content=content(size), headers=headers), 422, "digest_mismatch")
    assert not proxy.seen("put")
    assert not proxy.seen("complete")
    assert_nothing_left(accounts.values())
