"""What a service leaves behind when it is killed or frozen is removed, and nothing else is."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.seaweed import Seaweed
from testkit.serviceprocess import ServiceProcess
from tests.kill.agreement import Ledger, SqliteLedger
from tests.service import services
from tests.service.conftest import Accounts, Proxied, Start, serving_client
from tests.service.owners import asking, assert_stored, begin_upload, body_of, keys_in, overwrite
from tests.service.receipts import answer_when, assert_told
from tests.service.services import THREE_PARTS, HeldBody, client_of, put_when_free, until, until_nothing_is_left
from tests.service.sizes import ONE_PART, SHORT, content, each_size
from tests.unit.api.expectations import assert_problem

Two = tuple[FaultProxy, FaultProxy]
Started = Callable[..., Awaitable[ServiceProcess]]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return SqliteLedger(tmp_path / "ledger.sqlite3")


@pytest.fixture
def started(tmp_path: Path, start: Start) -> Started:
    """`await started(*proxies)`: a service with their accounts; all services of a test have the same `ledger`."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    return lambda *proxies: start(services.service(tmp_path, url, *(proxy.account for proxy in proxies)))


@pytest.fixture
def two(proxied: Proxied) -> Two:
    return proxied("A"), proxied("B")


async def killed_among_parts(process: ServiceProcess, two: Two) -> None:
    """Kills it when both accounts have an open upload with one part."""
    for proxy in two:
        proxy.add(Fault.stalls(operation="part", part_number=2))
    sending = asyncio.create_task(services.put(process, content(THREE_PARTS)))
    for proxy in two:
        await proxy.wait_until("part", 1, ended=True)
    await asyncio.to_thread(process.kill)
    assert await sending is None
    for proxy in two:
        proxy.clear()


@contextmanager
def frozen(process: ServiceProcess) -> Iterator[None]:
    process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)


async def killed_after(process: ServiceProcess, proxy: FaultProxy, operation: str, body: bytes) -> None:
    """Kills it when the account has executed the operation, but not answered."""
    proxy.add(Fault.calls(process.kill, operation=operation, comes_after=True))
    assert await services.put(process, body) is None
    await proxy.wait_until(operation, ended=True)
    proxy.clear()


async def test_clean_up_waits_when_one_is_down(accounts: Accounts, two: Two, started: Started, start: Start) -> None:
    process = await started(*two)
    await killed_among_parts(process, two)
    two[1].refuse_connections()
    await start(process)
    await until(lambda: not accounts["A"].contents())
    assert [key for key, _ in accounts["B"].contents().uploads] == ["k"]
    busy = await services.put(process, b"x")
    assert busy is not None
    assert_problem(busy, 409, "key_busy")
    two[1].accept_connections()
    assert_told(await put_when_free(process, b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


async def test_another_process_cleans_up_when_one_was_killed(
    accounts: Accounts, two: Two, tmp_path: Path, database_url: str, start: Start
) -> None:
    among = [proxy.account for proxy in two]
    first, second = [await start(services.service(tmp_path, database_url, *among)) for _ in range(2)]
    assert await services.put(first, b"x", "kept") is not None
    await killed_among_parts(first, two)
    assert_told(await put_when_free(second, content(ONE_PART)), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"kept": b"x", "k": content(ONE_PART)})


async def test_an_object_and_an_upload_of_another_writer_stay_when_a_killed_service_is_cleaned_up(
    accounts: Accounts, two: Two, started: Started, ledger: Ledger, start: Start
) -> None:
    process = await started(*two)
    for name in ("A", "B"):
        assert await services.put(process, b"x", f"kept-{name}", **{"upload-accounts": name}) is not None
    for proxy in two:
        proxy.add(Fault.stalls(operation="part", part_number=2))
    sending = asyncio.create_task(services.put(process, content(THREE_PARTS)))
    await until(lambda: len(ledger.ask("SELECT id FROM file_openupload WHERE upload_id IS NOT NULL")) == 2)
    await asyncio.to_thread(process.kill)
    assert await sending is None
    theirs = []
    for account in (accounts["A"], accounts["B"]):
        overwrite(account, b"theirs")
        theirs.append(("k", begin_upload(account)))
        part = {"UploadId": theirs[-1][1], "PartNumber": 1, "Body": b"theirs, too"}
        asking(account).upload_part(Bucket=account.s3_bucket_name, Key="k", **part)
    await start(process)
    async with services.client_of(process) as client:  # shows that the accounts return metadata
        for name in ("A", "B"):
            assert (await client.get(f"/files/kept-{name}")).content == b"x"
    await until(lambda: not ledger.ask("SELECT id FROM file_file WHERE key = 'k'"))
    for account, upload in zip((accounts["A"], accounts["B"]), theirs, strict=True):
        assert account.contents().uploads == [upload]
        assert keys_in(account) == ["k", f"kept-{account.name}"]
        assert body_of(account) == b"theirs"
    assert_problem(await put_when_free(process, b"x"), 409, "key_taken")


async def test_a_version_of_another_writer_stays_when_ours_below_it_is_cleaned_up(
    versioned: StoreAccount, accounts: Accounts, started: Started, ledger: Ledger, start: Start
) -> None:
    with FaultProxy(versioned) as proxy, FaultProxy(accounts["B"]) as other:
        process = await started(proxy, other)
        await killed_after(process, proxy, "put", b"ours")
        assert len(versioned.contents().versions) == 1
        theirs = overwrite(versioned, b"theirs")
        await start(process)
        await until(lambda: not ledger.ask("SELECT id FROM file_file"))
        assert versioned.contents().versions == [("k", theirs)]
        assert body_of(versioned) == b"theirs"
        await until_nothing_is_left([accounts["B"]])
        await asyncio.to_thread(process.kill)


@pytest.mark.parametrize("operation", ["begin", "complete"])
async def test_nothing_is_left_when_the_service_is_killed_before_an_answer(
    accounts: Accounts, two: Two, started: Started, ledger: Ledger, start: Start, operation: str
) -> None:
    process = await started(*two)
    await killed_after(process, two[0], operation, content(THREE_PARTS))
    await start(process)
    await until(lambda: not ledger.ask("SELECT id FROM file_file"))
    await until_nothing_is_left([accounts["A"], accounts["B"]])


async def test_the_upload_has_lost_its_lease_when_its_process_was_frozen(
    accounts: Accounts, two: Two, started: Started, start: Start
) -> None:
    """Its objects were stored, and another process has removed them meanwhile."""
    first, _ = await started(*two), await started(*two)
    goes_on = threading.Event()
    two[0].add(Fault.holds_reply(goes_on, operation="put"))
    sending = asyncio.create_task(services.put(first, b"x"))
    for proxy in two:
        await proxy.wait_until("put")
    with frozen(first):
        goes_on.set()
        for proxy in two:
            await proxy.wait_until("put", ended=True)
        await until_nothing_is_left([accounts["A"], accounts["B"]])
    answer = await sending
    assert answer is not None
    assert_problem(answer, 503, "lease_lost")
    assert "retry-after" in answer.headers
    await until_nothing_is_left([accounts["A"], accounts["B"]])
    assert_told(await put_when_free(first, b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


async def test_nothing_is_left_when_a_process_was_frozen_among_its_parts(
    accounts: Accounts, two: Two, started: Started, start: Start
) -> None:
    first, second = await started(*two), await started(*two)
    body = HeldBody()
    async with client_of(first) as client:
        sending = asyncio.create_task(client.put("/files/k", content=body))
        for proxy in two:
            await proxy.wait_until("part", 2, ended=True)
        with frozen(first):
            await until_nothing_is_left([accounts["A"], accounts["B"]])
        body.goes_on.set()
        answer = await sending
    # Either an account reports first that the upload is gone, or the ledger that the lease is lost.
    assert answer.status_code in (502, 503), answer.text
    await until_nothing_is_left([accounts["A"], accounts["B"]])
    assert_told(await put_when_free(second, b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


@each_size
async def test_the_key_is_free_again_when_a_frozen_account_goes_on(
    stores: dict[str, Seaweed], accounts: Accounts, size: int
) -> None:
    async with serving_client(*accounts.values(), lease_seconds=1.0, **SHORT) as (_, client):
        stores["B"].freeze()
        answer = await client.put("/files/k", content=content(size))
        told = assert_told(answer, 502, {"A": "taken_back", "B": "account_stalled", "C": "taken_back"})
        assert told["accounts"]["B"]["status"] == "removal_pending"
        assert_problem(await client.put("/files/k", content=content(size)), 409, "key_busy")
        stores["B"].thaw()
        again = await answer_when(lambda: client.put("/files/k", content=content(size)), services.is_not_busy)
        assert_told(again, 201, dict.fromkeys("ABC"))
    assert_stored(accounts.values(), {"k": content(size)})
