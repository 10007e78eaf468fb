"""An account is stopped, frozen, revoked, misconfigured, or has an object of its owner under the key.

The other accounts remove the file, the answer has the outcome of each, and the time is bounded.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.seaweed import Seaweed
from tests.service.conftest import Accounts, Proxied, put, serving, serving_client
from tests.service.owners import assert_nothing_left, assert_stored, delete, head_of, overwrite
from tests.service.receipts import assert_told, statuses
from tests.service.sizes import MANY_PARTS, ONE_PART, SHORT, SIZES, content, each_publication, each_size
from tests.unit.api.expectations import until
from tests.unit.api.rawhttp import connected, head

# What is done to the server, the code in the answer, and the status of the account there.
TROUBLES: dict[str, tuple[Callable[[Seaweed], object], str, str]] = {
    "stopped": (Seaweed.kill, "account_unreachable", "removed"),  # no request can have reached it
    "frozen": (Seaweed.freeze, "account_stalled", "removal_pending"),
    "revoked": (Seaweed.revoke, "access_refused", "removed"),
}


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Callable[[str], Seaweed]]:
    """`own_store("A")` is a server only for this test: a killed server needs time before it takes files again."""
    with ExitStack() as running:
        yield lambda name: running.enter_context(Seaweed(tmp_path / name, name))


def recover(store: Seaweed) -> None:
    """It is killed first: a thawed server would execute the requests that it had received."""
    store.kill()
    store.recover()


@pytest.mark.parametrize(("name", "trouble"), [("A", "stopped"), ("B", "frozen"), ("C", "revoked")])
async def test_the_others_have_nothing_when_one_is_in_trouble(
    accounts: Accounts, own_store: Callable[[str], Seaweed], name: str, trouble: str
) -> None:
    (strike, code, status), store = TROUBLES[trouble], own_store(name)
    three = {**accounts, name: store.account}
    loop = asyncio.get_running_loop()
    async with serving(*three.values(), **SHORT) as service:
        assert (await put(service, ONE_PART, "before")).status_code == 201
        strike(store)
        for size in SIZES:
            began = loop.time()
            with capture_logs() as log:
                answer = await put(service, size, f"k{size}")
            took = loop.time() - began
            told = assert_told(answer, 502, dict.fromkeys("ABC", "taken_back") | {name: code})
            assert statuses(told) == dict.fromkeys("ABC", "removed") | {name: status}
            [line] = [line for line in log if line["event"] == "account_failed" and line["account"] == name]
            assert (line["code"], line["removal"], line["key"]) == (code, status, f"k{size}")
            # The request, and twice the removal; the factor 3 is for a busy machine.
            allowed = SHORT["stall_seconds"] + size / SHORT["account_bytes_per_second"] + 2 * SHORT["remove_seconds"]
            assert took < 3 * allowed
    recover(store)
    assert_stored(three.values(), {"before": content(ONE_PART)})


@pytest.mark.parametrize("trouble", ["frozen", "revoked"])
async def test_removal_is_pending_when_the_trouble_begins_within_an_upload(
    accounts: Accounts, own_store: Callable[[str], Seaweed], trouble: str
) -> None:
    (strike, code, _), store = TROUBLES[trouble], own_store("B")
    reached, goes_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield content(MANY_PARTS)
        reached.set()
        await goes_on.wait()
        yield content(MANY_PARTS)

    with FaultProxy(store.account) as proxy:
        three = accounts["A"], proxy.account, accounts["C"]
        async with serving_client(*three, **SHORT) as (_, client):
            sending = asyncio.create_task(client.put("/files/k", content=body()))
            await reached.wait()
            await proxy.wait_until("part", ended=True)
            strike(store)
            goes_on.set()
            answer = await sending
    told = assert_told(answer, 502, {"A": "taken_back", "B": code, "C": "taken_back"})
    assert statuses(told) == {"A": "removed", "B": "removal_pending", "C": "removed"}
    assert_nothing_left([accounts["A"], accounts["C"]])
    recover(store)
    contents = store.account.contents()
    assert ([key for key, _ in contents.uploads], contents.versions) == (["k"], [])


async def test_each_error_is_reported_when_two_accounts_fail(accounts: Accounts, proxied: Proxied) -> None:
    wrong, proxy = dataclasses.replace(accounts["C"], secret_access_key="not-the-secret"), proxied("A")
    proxy.refuse_connections()
    async with serving(proxy.account, accounts["B"], wrong) as service:
        answers = [await put(service, size, f"k{size}") for size in SIZES]
    for answer in answers:
        assert_told(answer, 502, {"A": "account_unreachable", "B": "taken_back", "C": "access_refused"})
        assert "not-the-secret" not in answer.text
    assert answers[0].json()["accounts"]["C"]["error"]["detail"] == (
        "Account C refused our credentials: its secret_access_key does not belong to its access_key_id "
        "(SignatureDoesNotMatch)."
    )
    assert_nothing_left(accounts.values())


@each_size
@pytest.mark.parametrize(("name", "equal"), [("A", True), ("C", False)])
async def test_an_object_of_the_owner_keeps_its_key(accounts: Accounts, name: str, equal: bool, size: int) -> None:
    theirs = content(size) if equal else b"theirs"
    overwrite(accounts[name], theirs, Metadata={"owner": "somebody"})
    before = head_of(accounts[name])
    async with serving(*accounts.values()) as service:
        told = assert_told(await put(service, size), 409, dict.fromkeys("ABC", "taken_back") | {name: "key_taken"})
    assert told["code"] == "key_taken"
    assert_nothing_left(account for other, account in accounts.items() if other != name)
    assert_stored([accounts[name]], {"k": theirs})
    found = head_of(accounts[name])
    assert (found["ETag"], found["Metadata"]) == (before["ETag"], {"owner": "somebody"})


@each_publication
async def test_no_version_and_no_delete_marker_is_left_when_a_file_is_taken_back(
    accounts: Accounts, proxy: FaultProxy, versioned: StoreAccount, operation: str, size: int
) -> None:
    for body in (b"first", b"second"):
        overwrite(versioned, body)
    delete(versioned)
    before = versioned.contents()
    assert len(before.versions) == 3
    proxy.add(Fault.refuses("AccessDenied", operation=operation))
    async with serving(versioned, proxy.account) as service:
        assert_told(await put(service, size), 502, {"A": "taken_back", "B": "access_refused"})
    assert versioned.contents() == before
    assert_nothing_left(accounts.values())


@each_size
async def test_nothing_is_left_when_the_client_goes_away(accounts: Accounts, proxied: Proxied, size: int) -> None:
    proxies = [proxied(name) for name in accounts]
    async with serving(*(proxy.account for proxy in proxies)) as service:
        with capture_logs() as log:
            async with connected(service) as connection:
                await connection.send(head("PUT", "/files/k", f"content-length: {size + 1}"), content(size))
                if size == MANY_PARTS:
                    for proxy in proxies:
                        await proxy.wait_until("part", ended=True)
            await until(lambda: any(line["event"] == "request" for line in log))
        assert service.application.uploads.admission.under_way == 0
    assert [line["code"] for line in log if line["event"] == "request"] == ["client_gone"]
    assert not any(proxy.seen("put") or proxy.seen("complete") for proxy in proxies)
    assert_nothing_left(accounts.values())
