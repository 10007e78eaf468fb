"""Files that the documentation, docstrings, and comments name exist; links lead to a page and heading that exist."""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = "bench|demo|docs|examples|file|fuzz|mentumfileupload|requirements|scripts|soak|testkit|tests"
NAMED_PATH = re.compile(rf"(?<![\w./<-])(?:{FOLDERS})/[\w./-]*\w/?(?![\w*{{<])")
NAMED_MODULE = re.compile(r"`(\w+\.py)`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
# What appears only on the machine of a user.
NOT_IN_GIT = ("mentumfileupload/.env", "bench/results")


@cache
def files() -> tuple[str, ...]:
    """All files of the project, without what tools and runs leave in hidden folders."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        found += [str((Path(folder) / name).relative_to(ROOT)) for name in names]
    return tuple(found)


def pages() -> list[str]:
    return sorted(name for name in files() if name.endswith(".md"))


def exists(path: str) -> bool:
    """A path without its ending is a module or a folder."""
    return path.startswith(NOT_IN_GIT) or (ROOT / path).exists() or (ROOT / f"{path}.py").exists()


@cache
def headings(page: Path) -> frozenset[str]:
    """The anchors of the headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)


def broken_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        if not there.exists() or (anchor and anchor not in headings(there)):
            yield target


@pytest.mark.parametrize("page", pages())
def test_every_file_that_a_page_names_exists_when_the_page_is_read(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    modules = {Path(name).name for name in files()}
    missing = {path for path in NAMED_PATH.findall(text) if not exists(path)}
    missing |= {name for name in NAMED_MODULE.findall(text) if name not in modules}
    assert not missing


@pytest.mark.parametrize("page", pages())
def test_every_link_leads_somewhere_when_the_page_is_read(page: str) -> None:
    assert not list(broken_links(ROOT / page))


def test_every_file_that_the_code_names_exists_when_docstrings_and_comments_are_read() -> None:
    sources = [name for name in files() if name.endswith((".py", ".toml")) and not name.startswith("tests/")]
    missing = {
        f"{name}: {path}"
        for name in sources
        for path in NAMED_PATH.findall((ROOT / name).read_text(encoding="utf-8"))
        if path.endswith((".py", ".md")) and not exists(path)
    }
    assert not missing
