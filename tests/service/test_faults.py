"""Faults of one account, with the ack `all`: the file is stored everywhere, or nothing of it is left."""

from dataclasses import replace

import pytest

from file.logic.values import MiB
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.service.conftest import Accounts, Proxied, put, serving
from tests.service.owners import assert_nothing_left, assert_stored, keys_in
from tests.service.receipts import assert_told, statuses
from tests.service.sizes import MANY_PARTS, ONE_PART, SHORT, content

DONE_BUT_500 = {name: Fault.refuses(operation=name, carried_out=True) for name in ("put", "begin", "complete")}
# Repaired by a retry: the account, the faults, the file's size.
PASSING = {
    "put: SlowDown": ("A", [Fault.refuses("SlowDown", operation="put")], ONE_PART),
    "put: InternalError, and done": ("B", [DONE_BUT_500["put"]], ONE_PART),
    "put: conflict": ("C", [Fault.refuses("ConditionalRequestConflict", operation="put")], ONE_PART),
    "put: reset": ("A", [Fault.drops_connection(operation="put", after_bytes=100)], ONE_PART),
    "put: no answer": ("B", [Fault.loses_reply(operation="put")], ONE_PART),
    "put: no answer, twice": ("C", [Fault.loses_reply(operation=name) for name in ("put", "head")], ONE_PART),
    "put: damaged": ("A", [Fault.damages_body(operation="put")], ONE_PART),
    "begin: SlowDown": ("B", [Fault.refuses("SlowDown", operation="begin")], MANY_PARTS),
    "begin: no answer": ("C", [Fault.loses_reply(operation="begin")], MANY_PARTS),
    "begin: InternalError, and done": ("A", [DONE_BUT_500["begin"]], MANY_PARTS),
    "part: SlowDown, twice": ("A", [Fault.refuses("SlowDown", operation="part", times=2)], MANY_PARTS),
    "part: reset": ("B", [Fault.drops_connection(operation="part", after_bytes=MiB)], MANY_PARTS),
    "part: no answer": ("C", [Fault.loses_reply(operation="part")], MANY_PARTS),
    "part: damaged": ("A", [Fault.damages_body(operation="part", at_byte=MiB)], MANY_PARTS),
    "complete: InternalError": ("B", [Fault.refuses(operation="complete")], MANY_PARTS),
    "complete: InternalError in a 200": ("C", [Fault.refuses(operation="complete", status=200)], MANY_PARTS),
    "complete: InternalError, and done": ("A", [DONE_BUT_500["complete"]], MANY_PARTS),
    "complete: conflict": ("B", [Fault.refuses("ConditionalRequestConflict", operation="complete")], MANY_PARTS),
    "complete: no answer": ("C", [Fault.loses_reply(operation="complete")], MANY_PARTS),
}


@pytest.mark.parametrize("fault", PASSING)
async def test_every_account_has_the_file_when_a_fault_passes(accounts: Accounts, proxied: Proxied, fault: str) -> None:
    name, faults, size = PASSING[fault]
    proxy = proxied(name)
    proxy.add(*faults)
    async with serving(*({**accounts, name: proxy.account}).values()) as service:
        assert_told(await put(service, size), 201, dict.fromkeys("ABC"))
    assert [seen.fault for seen in proxy.requests if seen.fault]
    assert_stored(accounts.values(), {"k": content(size)})


# Not repaired by a retry: the account, the fault, the file's size, the account's code in the answer.
LASTING = {
    "put: SlowDown": ("A", Fault.refuses("SlowDown", operation="put"), ONE_PART, "account_throttled"),
    "put: InternalError, and done": ("B", DONE_BUT_500["put"], ONE_PART, "account_failing"),
    "put: AccessDenied": ("C", Fault.refuses("AccessDenied", operation="put"), ONE_PART, "access_refused"),
    "put: reset": ("A", Fault.drops_connection(operation="put"), ONE_PART, "account_unreachable"),
    "put: damaged": ("B", Fault.damages_body(operation="put"), ONE_PART, "part_refused"),
    "put: stalls": ("C", Fault.stalls(operation="put"), ONE_PART, "account_stalled"),
    "put: 412": ("A", Fault.refuses("PreconditionFailed", operation="put"), ONE_PART, "key_taken"),
    "put: too late": ("B", Fault.delays_reply(2.5, operation="put"), ONE_PART, "account_stalled"),
    "begin: no answer": ("C", Fault.loses_reply(operation="begin"), MANY_PARTS, "account_unreachable"),
    "begin: InternalError, and done": ("A", DONE_BUT_500["begin"], MANY_PARTS, "account_failing"),
    "begin: too late": ("B", Fault.delays_reply(2.5, operation="begin"), MANY_PARTS, "account_stalled"),
    "part: SlowDown": ("A", Fault.refuses("SlowDown", operation="part"), MANY_PARTS, "account_throttled"),
    "part: reset": ("B", Fault.drops_connection(operation="part", after_bytes=1), MANY_PARTS, "account_unreachable"),
    "part: stalls": ("C", Fault.stalls(operation="part", part_number=2), MANY_PARTS, "account_stalled"),
    "complete: InternalError": ("A", Fault.refuses(operation="complete"), MANY_PARTS, "account_failing"),
    "complete: InternalError, and done": ("B", DONE_BUT_500["complete"], MANY_PARTS, "account_failing"),
    "complete: error in a 200": ("C", Fault.refuses(operation="complete", status=200), MANY_PARTS, "account_failing"),
    "complete: NoSuchUpload": ("A", Fault.refuses("NoSuchUpload", operation="complete"), MANY_PARTS, "part_refused"),
    "complete: 412": ("B", Fault.refuses("PreconditionFailed", operation="complete"), MANY_PARTS, "key_taken"),
    "complete: stalls": ("C", Fault.stalls(operation="complete"), MANY_PARTS, "account_stalled"),
    "complete: too late": ("A", Fault.delays_reply(2.5, operation="complete"), MANY_PARTS, "account_stalled"),
}


@pytest.mark.parametrize("case", LASTING)
async def test_nothing_is_left_when_a_fault_lasts(accounts: Accounts, proxied: Proxied, case: str) -> None:
    name, fault, size, code = LASTING[case]
    proxy = proxied(name)
    proxy.add(replace(fault, times=None))
    limits = SHORT if code == "account_stalled" else {}
    async with serving(*({**accounts, name: proxy.account}).values(), **limits) as service:
        answer = await put(service, size)
    told = assert_told(answer, 409 if code == "key_taken" else 502, {**dict.fromkeys("ABC", "taken_back"), name: code})
    assert set(statuses(told).values()) == {"removed"}
    assert_nothing_left(accounts.values())


@pytest.mark.parametrize("size", [ONE_PART, MANY_PARTS])
async def test_both_outcomes_are_told_when_two_accounts_fail_at_once(
    accounts: Accounts, proxied: Proxied, size: int
) -> None:
    a, c = proxied("A"), proxied("C")
    last = "put" if size == ONE_PART else "complete"
    a.add(Fault.refuses("AccessDenied", operation=last))
    c.add(Fault.refuses("SlowDown", operation=last, times=None))
    async with serving(a.account, accounts["B"], c.account) as service:
        answer = await put(service, size)
    assert_told(answer, 502, {"A": "access_refused", "B": "taken_back", "C": "account_throttled"})
    assert_nothing_left(accounts.values())


async def test_removal_is_pending_when_it_is_refused(accounts: Accounts, proxy: FaultProxy) -> None:
    """The put had no answer, and then the keys were revoked: the object may be there."""
    proxy.add(Fault.loses_reply(operation="put"))
    proxy.add(*(Fault.refuses("AccessDenied", operation=name, times=None) for name in ("head", "list_versions")))
    async with serving(accounts["A"], proxy.account, accounts["C"]) as service:
        answer = await put(service, ONE_PART)
    told = assert_told(answer, 502, {"A": "taken_back", "B": "access_refused", "C": "taken_back"})
    assert statuses(told) == {"A": "removed", "B": "removal_pending", "C": "removed"}
    assert_nothing_left([accounts["A"], accounts["C"]])
    assert keys_in(accounts["B"]) == ["k"]
