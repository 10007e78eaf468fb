"""A whole account in trouble: stopped, frozen, revoked, misconfigured, or with somebody else's object under the key.

The others take back what they have, the outcome of each is told, and the time is bounded: what an account may take to
fail, and then what it may take to give the file back.
"""

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.seaweed import Seaweed
from testkit.serviceprocess import TOKEN
from tests.buckets import NewBucket
from tests.service.conftest import (
    MANY_PARTS,
    ONE_PART,
    SHORT,
    Accounts,
    Proxied,
    asking,
    assert_nothing_left,
    assert_stored,
    assert_told,
    content,
    put,
    serving,
)

SIZES = [ONE_PART, MANY_PARTS]

# How it is done to a store, what the client is told of it, and what it has of the file.
TROUBLES: dict[str, tuple[Callable[[Seaweed], object], str, str]] = {
    "stopped": (Seaweed.kill, "account_unreachable", "removed"),  # nothing can have reached it
    "frozen": (Seaweed.freeze, "account_stalled", "removal_pending"),
    "revoked": (Seaweed.revoke, "access_refused", "removed"),
}


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Callable[[str], Seaweed]]:
    """`own_store("A")` is a server for A of the test's own: one that was killed takes a while to take files again."""
    with ExitStack() as running:
        yield lambda name: running.enter_context(Seaweed(tmp_path / name, name))


def recover(store: Seaweed) -> None:
    """Let the server answer again. Thawed, it would first carry out what it has received: it is killed for that."""
    store.kill()
    store.recover()


@pytest.mark.parametrize(("name", "trouble"), [("A", "stopped"), ("B", "frozen"), ("C", "revoked")])
async def test_the_others_have_nothing_when_one_is_in_trouble(
    accounts: Accounts, own_store: Callable[[str], Seaweed], name: str, trouble: str
) -> None:
    strike, code, status = TROUBLES[trouble]
    store = own_store(name)
    three = {**accounts, name: store.account}
    loop = asyncio.get_running_loop()
    async with serving(*three.values(), **SHORT) as service:
        assert (await put(service, ONE_PART, "before")).status_code == 201
        strike(store)
        for size in SIZES:
            with capture_logs() as log:
                began = loop.time()
                answer = await put(service, size, f"k{size}")
                took = loop.time() - began
            told = assert_told(answer, 502, dict.fromkeys("ABC", "taken_back") | {name: code})
            statuses = {account: outcome["status"] for account, outcome in told["accounts"].items()}
            assert statuses == dict.fromkeys("ABC", "removed") | {name: status}
            [line] = [line for line in log if line["event"] == "account_failed" and line["account"] == name]
            assert (line["code"], line["removal"], line["key"]) == (code, status, f"k{size}")
            # What the request may take, and twice what taking back may take; the rest is for a busy machine.
            allowed = SHORT["stall_seconds"] + size / SHORT["account_bytes_per_second"] + 2 * SHORT["remove_seconds"]
            assert took < 3 * allowed
    recover(store)
    assert_stored(three.values(), {"before": content(ONE_PART)})


@pytest.mark.parametrize("trouble", ["frozen", "revoked"])
async def test_removal_is_pending_when_the_trouble_begins_within_an_upload(
    accounts: Accounts, own_store: Callable[[str], Seaweed], trouble: str
) -> None:
    strike, code, _ = TROUBLES[trouble]
    store = own_store("B")
    reached, goes_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield content(MANY_PARTS)
        reached.set()
        await goes_on.wait()
        yield content(MANY_PARTS)

    with FaultProxy(store.account) as proxy:
        three = accounts["A"], proxy.account, accounts["C"]
        async with serving(*three, **SHORT) as service, service.client() as client:
            sending = asyncio.create_task(client.put("/files/k", content=body()))
            await reached.wait()
            await proxy.wait_until("part", ended=True)
            strike(store)
            goes_on.set()
            answer = await sending
    told = assert_told(answer, 502, {"A": "taken_back", "B": code, "C": "taken_back"})
    statuses = {name: outcome["status"] for name, outcome in told["accounts"].items()}
    assert statuses == {"A": "removed", "B": "removal_pending", "C": "removed"}
    assert_nothing_left([accounts["A"], accounts["C"]])
    recover(store)
    contents = store.account.contents()
    assert [key for key, _ in contents.uploads] == ["k"]  # which is why
    assert contents.versions == []


async def test_two_are_told_when_one_cannot_be_reached_and_another_has_a_wrong_secret(
    accounts: Accounts, proxied: Proxied
) -> None:
    wrong = dataclasses.replace(accounts["C"], secret_access_key="not-the-secret")
    proxy = proxied("A")
    proxy.refuse_connections()
    async with serving(proxy.account, accounts["B"], wrong) as service:
        answers = [await put(service, size, f"k{size}") for size in SIZES]
    for answer in answers:
        assert_told(answer, 502, {"A": "account_unreachable", "B": "taken_back", "C": "access_refused"})
        assert "not-the-secret" not in answer.text
    detail = answers[0].json()["accounts"]["C"]["error"]["detail"]
    assert detail == (
        "Account C refused our credentials: its secret_access_key does not belong to its access_key_id "
        "(SignatureDoesNotMatch)."
    )
    assert_nothing_left(accounts.values())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "equal"), [("A", True), ("C", False)])
async def test_somebody_elses_object_stays_when_its_key_is_wanted(
    accounts: Accounts, name: str, equal: bool, size: int
) -> None:
    theirs = content(size) if equal else b"theirs"
    bucket = accounts[name].s3_bucket_name
    stored = asking(accounts[name]).put_object(Bucket=bucket, Key="k", Body=theirs, Metadata={"owner": "somebody"})
    async with serving(*accounts.values()) as service:
        told = assert_told(await put(service, size), 409, dict.fromkeys("ABC", "taken_back") | {name: "key_taken"})
    assert told["code"] == "key_taken"
    assert_nothing_left(account for other, account in accounts.items() if other != name)
    assert_stored([accounts[name]], {"k": theirs})
    found = asking(accounts[name]).head_object(Bucket=bucket, Key="k")
    assert (found["ETag"], found["Metadata"]) == (stored["ETag"], {"owner": "somebody"})


@pytest.mark.parametrize("operation", ["put", "complete"])
async def test_no_version_and_no_delete_marker_is_left_when_a_file_is_taken_back(
    accounts: Accounts, proxied: Proxied, versioned: StoreAccount, operation: str
) -> None:
    versioned.empty()
    client = asking(versioned)
    for body in (b"first", b"second"):  # and what somebody else deleted stays deleted, and kept
        client.put_object(Bucket=versioned.s3_bucket_name, Key="k", Body=body)
    client.delete_object(Bucket=versioned.s3_bucket_name, Key="k")
    before = versioned.contents()
    assert len(before.versions) == 3
    proxy = proxied("B")
    proxy.add(Fault.refuses("AccessDenied", operation=operation))
    async with serving(versioned, proxy.account) as service:
        size = ONE_PART if operation == "put" else MANY_PARTS
        assert_told(await put(service, size), 502, {"A": "taken_back", "B": "access_refused"})
    assert versioned.contents() == before
    assert_nothing_left(accounts.values())


@pytest.fixture(scope="session")
def versioned(kept_bucket: NewBucket) -> StoreAccount:
    """Account A with a bucket that keeps versions."""
    return kept_bucket("A", "delivery-versioned", versioned=True)


@pytest.mark.parametrize("size", SIZES)
async def test_nothing_is_left_when_the_client_goes_away(accounts: Accounts, proxied: Proxied, size: int) -> None:
    proxies = [proxied(name) for name in accounts]
    async with serving(*(proxy.account for proxy in proxies)) as service:
        url = httpx.URL(service.url)
        head = (
            f"PUT /files/k HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {size + 1}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection(url.host, url.port)
        with capture_logs() as log:
            writer.write(head.encode() + content(size))
            await writer.drain()
            if size == MANY_PARTS:
                for proxy in proxies:
                    await proxy.wait_until("part", ended=True)
            writer.transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            writer.close()
            async with asyncio.timeout(10):
                while not [line for line in log if line["event"] == "request"]:  # noqa: ASYNC110 - nobody is told
                    await asyncio.sleep(0.01)
        assert service.application.uploads.admission.under_way == 0
        del reader
    [line] = [line for line in log if line["event"] == "request"]
    assert line["code"] == "client_gone"
    assert not any(proxy.seen("put") or proxy.seen("complete") for proxy in proxies)
    assert_nothing_left(accounts.values())
