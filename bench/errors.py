"""The errors of a run."""


class BenchError(Exception):
    """The reason why the run cannot go on, in one line."""


class MissingLibraryError(BenchError):
    """What one part needs and this machine does not have, in one line. The part is skipped; the others go on."""


class ContestantError(Exception):
    """The reason why a contestant failed, in one line; the others go on."""
