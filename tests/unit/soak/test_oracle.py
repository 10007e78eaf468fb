"""The soak's judgement: the service's answers compared with the content of the accounts."""

from collections.abc import Sequence

import pytest

from soak.oracle import LEFT, LOST, Held, Record, State, Verdict, contradictions, judge

KEY = "soak-0000007.bin"
ID = "0193"
ACCOUNTS = ("A", "B")
OBJECT = Held(KEY, "null", 10)
PART = Held(KEY, "upload-1", None, upload=True)
MARKER = Held(KEY, "v2", None)


def record(state: State, *, key: str | None = KEY) -> Record:
    return Record(7, KEY, 10, "digest", "any", large=False, key=key, id=ID, state=state)


def verdict(file: Record, a: Sequence[Held], b: Sequence[Held], *, listed: bool = False) -> Verdict:
    return judge({7: file}, {"A": a, "B": b}, {7} if listed else set())


def wrong(verdict: Verdict) -> list[tuple[str, str | None]]:
    return [(finding.kind, finding.account) for finding in verdict.findings]


@pytest.mark.parametrize("state", [State.ACKNOWLEDGED, State.UNKNOWN, State.DELETE_UNKNOWN])
def test_a_file_is_to_be_read_when_every_account_has_it(state: State) -> None:
    found = verdict(record(state), [OBJECT], [OBJECT], listed=True)
    assert wrong(found) == []
    assert [(account, held) for account, _, held in found.expected] == [("A", OBJECT), ("B", OBJECT)]


@pytest.mark.parametrize("state", [State.REFUSED, State.UNKNOWN, State.DELETED, State.DELETE_UNKNOWN])
def test_an_object_is_left_over_when_its_file_is_refused_or_deleted_or_unknown(state: State) -> None:
    nothing = verdict(record(state), [], [])
    assert (wrong(nothing), nothing.expected) == ([], [])
    assert wrong(verdict(record(state), [OBJECT], [])) == [(LEFT, "A")]


@pytest.mark.parametrize(("state", "listed"), [(State.ACKNOWLEDGED, False), (State.UNKNOWN, True)])
def test_a_file_is_lost_when_it_is_acknowledged_or_listed_and_an_account_lacks_it(state: State, listed: bool) -> None:
    assert wrong(verdict(record(state), [OBJECT], [], listed=listed)) == [(LOST, "B")]


@pytest.mark.parametrize("held", [PART, MARKER, Held(KEY, "v2", 10), Held("of-another", "null", 3)])
def test_an_object_is_left_over_when_it_does_not_belong_to_a_file(held: Held) -> None:
    found = verdict(record(State.ACKNOWLEDGED), [OBJECT, held], [OBJECT])
    assert (wrong(found), len(found.expected)) == ([(LEFT, "A")], 2)


def test_an_object_is_left_over_when_its_key_is_not_the_acknowledged_one() -> None:
    assert wrong(verdict(record(State.ACKNOWLEDGED, key=f"1-{KEY}"), [OBJECT], [OBJECT])) == [(LEFT, "A"), (LEFT, "B")]


def test_a_file_is_damaged_when_its_size_is_another() -> None:
    assert wrong(verdict(record(State.ACKNOWLEDGED), [Held(KEY, "null", 9)], [OBJECT])) == [(LOST, "A")]


def test_the_objects_with_which_stores_start_are_no_findings() -> None:
    assert wrong(verdict(record(State.REFUSED), [Held(".ready-1", "null", 5)], [])) == []


@pytest.mark.parametrize(
    ("status", "changes", "complaint"),
    [
        (201, {}, None),
        (202, {"B": "pending"}, None),
        (201, {"B": "pending"}, "201 for ack any, stored in ['A'] only"),
        (202, {"A": "pending", "B": "pending"}, "202 for ack any, stored in [] only"),
        (201, {"sha256": "other"}, "size or digest of other bytes: 10 other"),
        (201, {"id": "0194"}, "another id than before: 0194, not 0193"),
    ],
)
def test_a_receipt_is_reported_when_it_contradicts_the_upload(
    status: int, changes: dict[str, str], complaint: str | None
) -> None:
    statuses = {name: changes.get(name, "stored") for name in ACCOUNTS}
    receipt = {"id": ID, "size": 10, "sha256": "digest", **changes}
    receipt |= {"accounts": {name: {"status": status} for name, status in statuses.items()}}
    found = contradictions(record(State.UNKNOWN), status, receipt, ACCOUNTS)
    assert found == ([] if complaint is None else [complaint])
