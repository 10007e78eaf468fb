"""The limits of the house (CONTRIBUTING.md): lines of files, classes and functions, modules, names of tests."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("file", "mentumfileupload", "testkit", "demo", "soak", "fuzz", "bench", "tests")
FILE, CLASS, FUNCTION, MODULES = 500, 200, 60, 12


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from (path for path in sorted((ROOT / folder).rglob("*.py")) if path.parent.name != "migrations")


def too_large(path: Path) -> Iterator[str]:
    """What of this file is over a limit, as `file: lines` or `file::name: lines`."""
    name, text = path.relative_to(ROOT).as_posix(), path.read_text()
    if text.count("\n") > FILE:
        yield name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
            limit = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            if node.end_lineno - node.lineno + 1 > limit:
                yield f"{name}::{node.name}"


def test_no_file_class_or_function_is_over_its_limit() -> None:
    assert [large for path in sources() for large in too_large(path)] == []


@pytest.mark.parametrize("folder", ["file", "mentumfileupload", "testkit"])
def test_no_package_has_too_many_modules(folder: str) -> None:
    paths = (ROOT / folder).rglob("*.py")
    counts = Counter(path.parent for path in paths if path.name != "__init__.py" and path.parent.name != "migrations")
    crowded = {path.relative_to(ROOT).as_posix(): count for path, count in counts.items() if count > MODULES}
    assert crowded == {}


def test_every_unit_test_is_named_after_the_module_that_it_tests() -> None:
    """`tests/unit/api/endpoints/test_put.py`, and `test_put_<more>.py`, test `file/api/endpoints/put.py`."""
    unit = ROOT / "tests" / "unit"
    unknown = []
    for test in unit.rglob("test_*.py"):
        package, name = test.parent.relative_to(unit), test.stem.removeprefix("test_")
        roots = (ROOT, ROOT / "file", ROOT / "mentumfileupload")
        modules = {path.stem for root in roots for path in (root / package).glob("*.py")}
        if package.name != "project" and not any(f"{name}_".startswith(f"{module}_") for module in modules):
            unknown.append(test.relative_to(ROOT).as_posix())
    assert unknown == []


def test_no_module_is_named_in_a_string_when_it_is_not_for_django() -> None:
    """An import by a string would evade the layers. Django's settings need the names of modules."""
    named = re.compile(r"""["'](?:file|mentumfileupload)(?:\.[a-z_]+)+(?:\.\w+)?["']""")
    django_needs = {"mentumfileupload/asgi.py", "mentumfileupload/settings.py"}
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("file", "mentumfileupload")
        for path in (ROOT / folder).rglob("*.py")
        if path.relative_to(ROOT).as_posix() not in django_needs and path.parent.name != "migrations"
        for name in named.findall(path.read_text())
    }
    assert not found
