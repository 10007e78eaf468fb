"""The description of the machine."""

import sysconfig

import pytest

from bench.machine import profile_guided


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"CONFIG_ARGS": "'--prefix=/usr' '--enable-optimizations' '--with-lto'"}, "with PGO"),
        ({"CONFIG_ARGS": "'--prefix=/usr'", "CONFIGURE_CFLAGS_NODIST": "-O3 -fprofile-use"}, "with PGO"),
        ({"CONFIG_ARGS": "'--prefix=/usr'", "PGO_PROF_USE_FLAG": "-fprofile-use"}, "no PGO configured"),
        ({"CONFIG_ARGS": None}, "PGO unknown"),
        ({}, "PGO unknown"),
    ],
)
def test_pgo_is_told_when_python_was_configured_with_it(variables: dict[str, str | None], told: str) -> None:
    assert profile_guided(variables) == told


def test_this_python_says_how_it_was_configured_when_it_is_asked() -> None:
    assert profile_guided(sysconfig.get_config_vars()) != "PGO unknown"
