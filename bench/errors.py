"""What may go wrong in a run."""


class BenchError(Exception):
    """One line on why the run cannot go on."""


class ContestantError(Exception):
    """One line on why a contestant did not do what was asked; the others go on."""
