"""docs/settings.md and the code say the same, in both directions."""

import dataclasses
import re
from pathlib import Path

from file.logic.values import Account
from mentumfileupload.config.accounts import KEYS, REQUIRED_KEYS
from mentumfileupload.config.platformvariables import _TOLD_OF_AN_ACCOUNT
from mentumfileupload.config.uploadsettings import TABLE

ROOT = Path(__file__).resolve().parents[3]


def rows_under(heading: str) -> dict[str, list[str]]:
    """The first table under a heading: the name in its first cell -> its other cells."""
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0].strip("`"): row[1:] for row in rows}


def test_every_setting_stands_on_the_page_when_it_is_in_the_table_and_no_other() -> None:
    expected = {}
    for row in TABLE:
        bounds = "" if row.minimum is None else f"{row.minimum:.16g} to {row.maximum:.16g}"
        expected[row.name] = [f"`{row.default}`" if row.default else "empty", row.unit, bounds, row.help]
    found = rows_under("The settings")
    assert {name: cells[:-1] for name, cells in found.items()} == expected
    assert all(cells[-1] for cells in found.values())


def test_every_key_of_an_account_stands_on_the_page_when_it_is_known_and_no_other() -> None:
    found = rows_under("Accounts")
    assert list(found) == list(KEYS)
    assert {key for key, cells in found.items() if cells[0] == "yes"} == set(REQUIRED_KEYS)
    defaults = {field.name: field.default for field in dataclasses.fields(Account)}
    for key, cells in found.items():
        if isinstance(defaults[key], bool):
            assert cells[1] == f"`{str(defaults[key]).lower()}`"


def test_no_variable_is_named_on_the_page_when_there_is_no_such_setting() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    settings, platform, rest = re.split(r"\n## (?=What a platform sets\n|Who may\n)", page)
    assert set(re.findall(r"\bUPLOAD_[A-Z_]*[A-Z]\b", settings + rest)) <= {row.name for row in TABLE}
    assert all(word in platform for word in _TOLD_OF_AN_ACCOUNT if not word.endswith("S"))
