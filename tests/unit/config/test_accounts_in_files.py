"""`AWS_ACCOUNT_<NAME>_FILE`: an account in a file of its own, as container secrets are."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mentumfileupload.config.accounts import read_accounts

Write = Callable[..., str]


def test_an_account_is_read_from_a_file_when_the_variable_names_one(account_json: Write, tmp_path: Path) -> None:
    secret = tmp_path / "account a"
    secret.write_text(account_json().replace(", ", ",\n") + "\n", encoding="utf-8")
    accounts, faults = read_accounts({"AWS_ACCOUNT_A_FILE": str(secret)}, lambda path: Path(path).read_text("utf-8"))
    assert faults == ()
    assert accounts[0].name == "A"


@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), (b"", "is empty"), (b"\xff\xfe", "UTF-8")])
def test_a_fault_does_not_show_the_path_when_the_named_file_is_no_use(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret-path"
    if content is not None:
        secret.write_bytes(content)
    accounts, faults = read_accounts({"AWS_ACCOUNT_A_FILE": str(secret)}, lambda path: Path(path).read_text("utf-8"))
    assert accounts == ()
    assert len(faults) == 1
    assert faults[0].startswith("AWS_ACCOUNT_A_FILE: ")
    assert says in faults[0]
    assert "secret-path" not in faults[0]


def test_both_forms_of_one_account_are_a_fault_when_both_are_set(account_json: Write) -> None:
    _, faults = read_accounts(
        {"AWS_ACCOUNT_A": account_json(), "AWS_ACCOUNT_A_FILE": "/run/secrets/a"}, lambda path: account_json()
    )
    assert faults == ("AWS_ACCOUNT_A_FILE: describes the same account as AWS_ACCOUNT_A; keep one of them",)
