"""The engine's own, and deadly."""

from django.db.backends.postgresql import base

from tests.kill.deadly.deaths import Deadly


class DatabaseWrapper(Deadly, base.DatabaseWrapper):
    """Dies at the commit that it is told."""
