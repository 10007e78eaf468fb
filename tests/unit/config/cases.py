"""Tables of cases by what they have in common, and the fault that a case expects."""

from collections.abc import Mapping, Sequence

from mentumfileupload.config.uploadsettings import ProjectSettings


def each(table: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """A case per value: the name of its group, and the value."""
    return [(group, value) for group, values in table.items() for value in values]


def assert_fault(project: ProjectSettings, name: str, begins: str = "", *says: str) -> None:
    """There is one fault. It is of the variable `name`, begins and says so, and does not show the value SECRET."""
    (fault,) = project.faults
    assert fault.startswith(f"{name}: {begins}")
    assert [text for text in says if text not in fault] == []
    assert "SECRET" not in fault.removeprefix(name)
