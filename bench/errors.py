"""The errors of a run."""


class BenchError(Exception):
    """The reason why the run cannot go on, in one line."""


class ContestantError(Exception):
    """The reason why a contestant failed, in one line; the others go on."""
