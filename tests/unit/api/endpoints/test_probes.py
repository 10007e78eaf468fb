"""Health, readiness, and the state of the accounts, also when an account has a fault."""

import asyncio

from mentumfileupload import __version__
from testkit.memorybucket import MemoryBucket
from tests.serving import running
from tests.unit.api.expectations import ALWAYS, memory_service, three


async def test_health_is_answered_without_a_token_when_the_process_lives() -> None:
    async with memory_service(three(refuses_probe=ALWAYS)) as service, service.client(headers={}) as client:
        answer = await client.get("/_/health")
        assert (await client.head("/_/health")).status_code == answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"data": {"status": "ok", "version": __version__}}
    service.assert_not_asked()


async def test_it_is_ready_when_an_account_is_down_and_not_when_it_drains() -> None:
    async with running(three(refuses_probe=ALWAYS)) as service, service.client(headers={}) as client:
        ready = await client.get("/_/ready")
        await service.application.drain(0)
        draining = await client.get("/_/ready")
        health = await client.get("/_/health")
    assert (ready.status_code, ready.content) == (200, b"")
    assert (draining.status_code, draining.content) == (503, b"")
    assert health.status_code == 200
    assert health.headers["connection"] == "close"  # a kept connection would never let the server end


async def test_the_answer_has_the_reason_when_an_account_fails() -> None:
    async with running(three(refuses_probe=ALWAYS)) as service, service.client() as client:
        answer = await client.get("/_/accounts")
    assert answer.status_code == 200
    accounts = answer.json()["accounts"]
    assert list(accounts) == ["A", "B", "C"]
    assert accounts["A"] == {"status": "ok", "bucket": "bucket-a", "region": "eu-central-1"}
    error = {"code": "access_refused", "detail": "Account B refused our credentials.", "retryable": False}
    assert (accounts["B"]["status"], accounts["B"]["error"]) == ("failing", error)
    assert accounts["C"]["status"] == "ok"


async def test_accounts_are_asked_once_and_together_when_requests_come_together() -> None:
    buckets = [MemoryBucket(name, faults={"stalls_at_probe": ALWAYS}) for name in "ABCD"]
    async with running(buckets) as service, service.client() as client:
        asking = [asyncio.create_task(client.get("/_/accounts")) for _ in range(10)]
        async with asyncio.timeout(10):
            for bucket in buckets:
                await bucket.stalled.wait()  # together: none has answered yet
        for bucket in buckets:
            assert not any(each.done() for each in asking)
            bucket.released.set()
        answers = await asyncio.gather(*asking)
        again = await client.get("/_/accounts")
    assert {answer.status_code for answer in (*answers, again)} == {200}
    assert all(bucket.calls["probe"] == 1 for bucket in buckets)
