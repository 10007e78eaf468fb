"""What a service leaves behind when it dies or stands still: taken away by whoever is there, and nothing else is."""

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.seaweed import Seaweed
from testkit.serviceprocess import ServiceProcess
from tests.buckets import NewBucket
from tests.kill.agreement import Ledger, SqliteLedger
from tests.service import services
from tests.service.conftest import (
    MANY_PARTS,
    ONE_PART,
    SHORT,
    Accounts,
    Proxied,
    Start,
    asking,
    assert_stored,
    assert_told,
    content,
    serving,
)
from tests.service.receipts import answer_when
from tests.service.services import (
    THREE_PARTS,
    HeldBody,
    client_of,
    put_when_free,
    until,
    until_nothing_is_left,
)

Two = tuple[FaultProxy, FaultProxy]


@pytest.fixture
def new_service(tmp_path: Path) -> services.NewService:
    """All of them on one SQLite file."""

    def new(*accounts: StoreAccount, **environment: str) -> ServiceProcess:
        return services.service(tmp_path, f"sqlite:///{tmp_path / 'ledger.sqlite3'}", *accounts, **environment)

    return new


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """What `new_service` writes to."""
    return SqliteLedger(tmp_path / "ledger.sqlite3")


@pytest.fixture
def two(proxied: Proxied) -> Two:
    return proxied("A"), proxied("B")


async def killed_among_parts(process: ServiceProcess, two: Two) -> None:
    """Killed when both accounts have an open upload with a part in it."""
    for proxy in two:
        proxy.add(Fault.stalls(operation="part", part_number=2))
    sending = asyncio.create_task(services.put(process, content(THREE_PARTS)))
    for proxy in two:
        await proxy.wait_until("part", 1, ended=True)
    await asyncio.to_thread(process.kill)
    assert await sending is None
    for proxy in two:
        proxy.clear()


async def killed_after(process: ServiceProcess, proxy: FaultProxy, operation: str, body: bytes) -> None:
    """Killed when the account has done it, before the answer."""
    proxy.add(Fault.calls(process.kill, operation=operation, comes_after=True))
    assert await services.put(process, body) is None
    await proxy.wait_until(operation, ended=True)
    proxy.clear()


async def test_the_clean_up_stays_open_when_an_account_is_down(
    accounts: Accounts, two: Two, new_service: services.NewService, start: Start
) -> None:
    process = new_service(two[0].account, two[1].account)
    await start(process)
    await killed_among_parts(process, two)
    two[1].refuse_connections()
    await start(process)
    await until(lambda: not accounts["A"].contents())
    assert [key for key, _ in accounts["B"].contents().uploads] == ["k"]
    busy = await services.put(process, b"x")
    assert busy is not None
    assert (busy.status_code, busy.json()["code"]) == (409, "key_busy")
    two[1].accept_connections()
    assert_told(await put_when_free(process, b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


async def test_another_process_cleans_up_when_one_was_killed(
    accounts: Accounts, two: Two, tmp_path: Path, database_url: str, start: Start
) -> None:
    first, second = (services.service(tmp_path, database_url, *(proxy.account for proxy in two)) for _ in range(2))
    await start(first)
    await start(second)
    assert await services.put(first, b"x", "kept") is not None
    await killed_among_parts(first, two)
    answer = await put_when_free(second, content(ONE_PART))
    assert_told(answer, 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"kept": b"x", "k": content(ONE_PART)})


async def test_an_object_and_an_upload_of_another_writer_stay_when_a_killed_service_is_cleaned_up(
    accounts: Accounts, two: Two, new_service: services.NewService, ledger: Ledger, start: Start
) -> None:
    process = new_service(two[0].account, two[1].account)
    await start(process)
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
        place = {"Bucket": account.s3_bucket_name, "Key": "k"}
        asking(account).put_object(**place, Body=b"theirs")
        begun = asking(account).create_multipart_upload(**place)["UploadId"]
        asking(account).upload_part(**place, UploadId=begun, PartNumber=1, Body=b"theirs, too")
        theirs.append(("k", begun))
    await start(process)
    async with services.client_of(process) as client:  # the accounts show that they give metadata back
        for name in ("A", "B"):
            assert (await client.get(f"/files/kept-{name}")).content == b"x"
    await until(lambda: not ledger.ask("SELECT id FROM file_file WHERE key = 'k'"))
    for account, upload in zip((accounts["A"], accounts["B"]), theirs, strict=True):
        contents = account.contents()
        assert contents.uploads == [upload]
        assert sorted(key for key, _ in contents.versions) == ["k", f"kept-{account.name}"]
        found = asking(account).get_object(Bucket=account.s3_bucket_name, Key="k")
        assert found["Body"].read() == b"theirs"
    taken = await put_when_free(process, b"x")
    assert (taken.status_code, taken.json()["code"]) == (409, "key_taken")


async def test_a_version_of_another_writer_stays_when_ours_below_it_is_cleaned_up(
    new_bucket: NewBucket, accounts: Accounts, new_service: services.NewService, ledger: Ledger, start: Start
) -> None:
    versioned = new_bucket("A", "crash-versioned", versioned=True)
    versioned.empty()
    client, bucket = asking(versioned), versioned.s3_bucket_name
    with FaultProxy(versioned) as proxy:
        process = new_service(proxy.account, accounts["B"])
        await start(process)
        await killed_after(process, proxy, "put", b"ours")
        assert len(versioned.contents().versions) == 1
        theirs = client.put_object(Bucket=bucket, Key="k", Body=b"theirs")["VersionId"]
        await start(process)
        await until(lambda: not ledger.ask("SELECT id FROM file_file"))
        assert versioned.contents().versions == [("k", theirs)]
        assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"theirs"
        await until_nothing_is_left([accounts["B"]])
        await asyncio.to_thread(process.kill)
    versioned.empty()


@pytest.mark.parametrize("operation", ["begin", "complete"])
async def test_nothing_is_left_when_the_service_dies_with_an_answer_that_it_never_got(
    accounts: Accounts, two: Two, new_service: services.NewService, ledger: Ledger, start: Start, operation: str
) -> None:
    process = new_service(two[0].account, two[1].account)
    await start(process)
    await killed_after(process, two[0], operation, content(THREE_PARTS))
    await start(process)
    await until(lambda: not ledger.ask("SELECT id FROM file_file"))
    await until_nothing_is_left([accounts["A"], accounts["B"]])


async def test_the_upload_is_told_that_it_lost_when_its_process_stood_still_for_too_long(
    accounts: Accounts, two: Two, new_service: services.NewService, start: Start
) -> None:
    """Its object is there; another process has taken it away meanwhile."""
    first, second = new_service(two[0].account, two[1].account), new_service(two[0].account, two[1].account)
    await start(first)
    await start(second)
    stands_still = threading.Event()
    two[0].add(Fault.holds_reply(stands_still, operation="put"))
    sending = asyncio.create_task(services.put(first, b"x"))
    for proxy in two:
        await proxy.wait_until("put")
    assert first.process_id is not None
    os.kill(first.process_id, signal.SIGSTOP)
    stands_still.set()
    try:
        await two[1].wait_until("put", ended=True)
        await two[0].wait_until("put", ended=True)
        await until_nothing_is_left([accounts["A"], accounts["B"]])
    finally:
        os.kill(first.process_id, signal.SIGCONT)
    answer = await sending
    assert answer is not None
    assert (answer.status_code, answer.json()["code"]) == (503, "lease_lost"), answer.text
    assert "retry-after" in answer.headers
    await until_nothing_is_left([accounts["A"], accounts["B"]])
    assert_told(await put_when_free(first, b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


async def test_nothing_is_left_when_a_process_stood_still_among_its_parts(
    accounts: Accounts, two: Two, new_service: services.NewService, start: Start
) -> None:
    first, second = new_service(two[0].account, two[1].account), new_service(two[0].account, two[1].account)
    await start(first)
    await start(second)
    body = HeldBody()
    async with client_of(first) as client:
        sending = asyncio.create_task(client.put("/files/k", content=body))
        for proxy in two:
            await proxy.wait_until("part", 2, ended=True)
        assert first.process_id is not None
        os.kill(first.process_id, signal.SIGSTOP)
        try:
            await until_nothing_is_left([accounts["A"], accounts["B"]])
        finally:
            os.kill(first.process_id, signal.SIGCONT)
        body.goes_on.set()
        answer = await sending
    # Either account says first that it does not know the upload, or the ledger that it is not ours any more.
    assert answer.status_code in (502, 503), answer.text
    await until_nothing_is_left([accounts["A"], accounts["B"]])
    assert_told(await put_when_free(second, b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


@pytest.mark.parametrize("size", [ONE_PART, MANY_PARTS])
async def test_the_key_is_free_again_when_an_account_that_stood_still_goes_on(
    stores: dict[str, Seaweed], accounts: Accounts, size: int
) -> None:
    async with (
        serving(*accounts.values(), lease_seconds=1.0, **SHORT) as service,
        service.client() as client,
    ):
        stores["B"].freeze()
        told = assert_told(
            await client.put("/files/k", content=content(size)),
            502,
            {"A": "taken_back", "B": "account_stalled", "C": "taken_back"},
        )
        assert told["accounts"]["B"]["status"] == "removal_pending"
        busy = await client.put("/files/k", content=content(size))
        assert (busy.status_code, busy.json()["code"]) == (409, "key_busy")
        stores["B"].thaw()
        again = await answer_when(lambda: client.put("/files/k", content=content(size)), services.is_not_busy)
        assert_told(again, 201, dict.fromkeys("ABC"))
    assert_stored(accounts.values(), {"k": content(size)})
