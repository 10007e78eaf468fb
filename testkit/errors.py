"""The error of this package. Its text is one line that can be shown to the user of a command."""


class StoreError(Exception):
    """A store could not be started, or did not do what was requested."""
