"""The one error of this package: its text is one clear line, fit to be shown to whoever typed the command."""


class StoreError(Exception):
    """A store could not be started, or did not do what it was told."""
