"""The engine's own, and deadly."""

from django.db.backends.sqlite3 import base

from tests.kill.deadly.deaths import Deadly


class DatabaseWrapper(Deadly, base.DatabaseWrapper):
    """Dies at the commit that it is told."""
