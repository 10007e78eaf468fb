"""docs/glossary.md explains every name of a module that is not plain English, and retired words are not used."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = ("file", "mentumfileupload")

# Names of Python, Django, and the protocols, and English words with their usual meaning. Sorted.
PLAIN_WORDS = frozenset(
    """
    address addresses admin answer api app application asgi auth background backup batches body call check checkpoint
    client command commit compare conditions config conflicts connection content database delete diagnosis endpoint
    environment error fields figures file form get handle hashes hashing headers holding in known leaving list
    listener listing log login make management memory metadata metrics migrate migrations models multiple naming
    open opening pages parameters paths platform private put queries read reading records renaming reports request
    responses restoration restore results rows rules run s3 security server service serving setting sqlite
    statements states sub terminal texts threads timeouts upload urls values variables verification writer xml
    """.split()
)
# Words that were replaced: what to say instead.
RETIRED_WORDS = {
    "acquaintance": "known",
    "attendance": "presence",
    "bringing": "replicate",
    "crew": "fan-out",
    "looking": "holding, or what is examined",
    "rollcall": "presence",
    "rooms": "buffers",
    "sampling": "scrub",
    "seams": "ports",
    "settling": "results",
    "stranger": "unknown object, in code: orphan",
    "strangers": "unknown object, in code: orphan",
    "survey": "inventory",
    "unconnected": "connection errors",
    "verdict": "result, comparison",
    "verdicts": "compare",
    "verifiable": "replicas",
}


def modules() -> list[Path]:
    return sorted(
        path.relative_to(ROOT)
        for folder in PRODUCT
        for path in (ROOT / folder).rglob("*.py")
        if "migrations" not in path.parts
    )


@cache
def glossary() -> frozenset[str]:
    """The terms, and the names of the modules that the page assigns to them, without hyphens and spaces."""
    found: set[str] = set()
    for line in (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3:
            found.update(re.sub(r"[\W_]", "", term).lower() for term in cells[0].split(","))
            found.update(name for path in re.findall(r"`([\w/]+?)(?:\.py)?/?`", cells[2]) for name in path.split("/"))
    return frozenset(found)


def is_explained(name: str) -> bool:
    """Whether `name` is a sequence of explained words without spaces. A singular explains its plural."""
    words = PLAIN_WORDS | glossary()
    starts = {0}
    for end in range(1, len(name) + 1):
        if any(name[start:end] in words or name[start:end].removesuffix("s") in words for start in starts):
            starts.add(end)
    return len(name) in starts


def names_of_modules() -> Iterator[tuple[str, Path]]:
    for path in modules():
        yield path.parent.name if path.name == "__init__.py" else path.stem, path


def words_of_classes(path: Path) -> Iterator[tuple[str, str]]:
    """Each class's name, and the words in it: `RollCall` gives roll, call, and rollcall."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            for word in (*re.findall(r"[A-Z][a-z0-9]*", node.name), node.name):
                yield node.name, word.lower()


def test_every_module_is_explained_when_its_name_is_not_plain_english() -> None:
    missing = {f"{path}: {name}" for name, path in names_of_modules() if not is_explained(name)}
    assert not missing, (
        "These names are neither in docs/glossary.md nor plain English. Choose a name from the glossary; or add a line "
        "for the new term there (term, meaning, module); or, if every reader knows the word, add it to PLAIN_WORDS of "
        f"this test: {sorted(missing)}"
    )


def test_no_retired_word_is_used_when_a_module_or_a_class_gets_its_name() -> None:
    found = {
        f"{path}: {name} (say: {RETIRED_WORDS[word]})"
        for path in modules()
        for name, word in [(path.stem, path.stem), *words_of_classes(path)]
        if word in RETIRED_WORDS
    }
    assert not found, f"These names use a word that was replaced: {sorted(found)}"


@pytest.mark.parametrize(
    "name", ["circuitbreaker", "catchup", "fanout", "lanes", "handleinmultipleaccounts", "receipts"]
)
def test_a_name_is_explained_when_its_words_are(name: str) -> None:
    assert is_explained(name)


@pytest.mark.parametrize("name", ["rollcall", "wizardry", "lanex", "xlane"])
def test_a_name_is_not_explained_when_a_word_of_it_is_unknown(name: str) -> None:
    assert not is_explained(name)


def test_each_term_has_one_line_and_the_lines_are_sorted_when_the_page_is_read() -> None:
    tables = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").split("| --- | --- | --- |\n")[1:]
    terms = []
    for table in tables:
        rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")]
        rows = [row for row in rows if row[0].strip() != "term"]
        assert all(len(row) == 3 for row in rows)
        assert [row[0].lower() for row in rows] == sorted(row[0].lower() for row in rows)
        terms += [row[0].strip() for row in rows]
    assert len(terms) > 50
    assert len(set(terms)) == len(terms)
