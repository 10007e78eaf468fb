"""`AWS_ACCOUNT_<NAME>_FILE`: an account in its own file, like a container's secret."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mentumfileupload.config.accounts import read_accounts

Write = Callable[..., str]


def read_text(path: str) -> str:
    return Path(path).read_text("utf-8")


def test_an_account_is_read_from_a_file_when_the_variable_names_one(account_json: Write, tmp_path: Path) -> None:
    secret = tmp_path / "account a"
    secret.write_text(account_json().replace(", ", ",\n") + "\n", encoding="utf-8")
    (account,), faults = read_accounts({"AWS_ACCOUNT_A_FILE": str(secret)}, read_text)
    assert (account.name, faults) == ("A", ())


@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), (b"", "is empty"), (b"\xff\xfe", "UTF-8")])
def test_a_fault_does_not_show_the_path_when_the_file_cannot_be_used(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret-path"
    if content is not None:
        secret.write_bytes(content)
    accounts, (fault,) = read_accounts({"AWS_ACCOUNT_A_FILE": str(secret)}, read_text)
    assert accounts == ()
    assert fault.startswith("AWS_ACCOUNT_A_FILE: ")
    assert says in fault
    assert "secret-path" not in fault


def test_both_forms_of_one_account_are_a_fault_when_both_are_set(account_json: Write) -> None:
    both = {"AWS_ACCOUNT_A": account_json(), "AWS_ACCOUNT_A_FILE": "/run/secrets/a"}
    _, faults = read_accounts(both, lambda path: account_json())
    assert faults == ("AWS_ACCOUNT_A_FILE: describes the same account as AWS_ACCOUNT_A; keep one of them",)
