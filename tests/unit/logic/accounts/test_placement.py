"""Which accounts get a file, and which one it is read from first."""

from collections.abc import Sequence

import pytest

from file.logic.accounts.placement import Placement, ack_of
from file.logic.errors import AccountsRefusedError, AckRefusedError
from file.logic.values import Ack
from tests.buckets import registry_of
from tests.flow import buckets


def chosen_of(placement: Placement, names: Sequence[str] | None = None) -> str:
    _, chosen = placement.of_upload(ack_of("any"), names)
    return "".join(storage.account.name for storage in chosen)


@pytest.mark.parametrize("text", ["", "most", "0", "-1", "1.5", "ALL", "any, any", "٣"])
def test_an_ack_is_refused_when_it_is_neither_a_word_nor_a_number(text: str) -> None:
    with pytest.raises(AckRefusedError):
        ack_of(text)


@pytest.mark.parametrize(
    ("names", "chosen"), [(None, "ABC"), (["A"], "A"), (["C", "A"], "AC"), (["A", "B", "C"], "ABC")]
)
def test_the_named_accounts_are_chosen_when_they_exist(names: list[str] | None, chosen: str) -> None:
    assert chosen_of(Placement(registry_of(buckets())), names) == chosen


@pytest.mark.parametrize("names", [["D"], [""], ["a"], ["A", "A"], ["A", ""]])
def test_the_accounts_are_refused_when_one_is_unknown_or_named_twice(names: list[str]) -> None:
    with pytest.raises(AccountsRefusedError):
        Placement(registry_of(buckets())).of_upload(ack_of("any"), names)


@pytest.mark.parametrize(("ack", "names"), [("4", None), ("5", None), ("2", ["A"])])
def test_the_ack_is_refused_when_it_wants_more_accounts_than_there_are(ack: str, names: list[str] | None) -> None:
    with pytest.raises(AckRefusedError, match="wants"):
        Placement(registry_of(buckets())).of_upload(ack_of(ack), names)


@pytest.mark.parametrize("ack", ["all", "quorum", "any"])
def test_the_ack_is_refused_when_every_account_is_retired(ack: str) -> None:
    placement = Placement(registry_of(buckets()))
    placement.registry.retired = frozenset("ABC")
    with pytest.raises(AckRefusedError, match="wants 1 accounts of 0"):
        placement.of_upload(ack_of(ack))


def test_a_quorum_is_more_than_half_when_there_are_any_number_of_accounts() -> None:
    assert [ack_of("quorum").needed(count) for count in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


def test_the_ack_is_the_configured_one_when_an_upload_has_none() -> None:
    ack, _ = Placement(registry_of(buckets()), ack=Ack("2")).of_upload()
    assert ack == Ack("2")


def test_a_retired_account_gets_no_new_files_but_is_read_from() -> None:
    placement = Placement(registry_of(buckets()), read_order=("C", "B"))
    placement.registry.retired = frozenset("BX")
    assert chosen_of(placement) == chosen_of(placement, ["C", "A"]) == "AC"
    for names in (["A", "B"], ["X"]):
        with pytest.raises(AccountsRefusedError):
            placement.of_upload(None, names)
    with pytest.raises(AckRefusedError, match="3 accounts of 2"):
        placement.of_upload(ack_of("3"))
    assert [name for name in "ABCDX" if placement.takes(name)] == ["A", "C"]
    assert "".join(source.account.name for source in placement.sources()) == "CBA"
