"""How a listing goes on from page to page, and that it ends: a store may answer each page with one more marker.

No page is asked for twice, markers do not go round in a circle, and pages without an entry are not followed for ever.
What belongs to one key has so many pages at most; what belongs to a whole bucket has as many as there are objects. A
listing that does not keep to it is the account's failure. Leaves to others: asking, and what a page says.
"""

from file.logic.errors import AccountFailingError

MAX_PAGES = 200  # about one key; S3's have 1,000 entries
_MAX_EMPTY_PAGES = 100  # one after the other: S3 sends some where much was deleted
Markers = tuple[tuple[str, str], ...]


class EndlessListingError(AccountFailingError):
    """A listing does not come to its end, or not within the bounds."""


class Pages:
    """Of one listing. `markers` are the query's pairs for the page to ask for now; `most`: no more pages than these."""

    def __init__(self, account: str, operation: str, *, most: int | None = None) -> None:
        self.markers: Markers = ()
        self._account = account
        self._operation = operation
        self._most = most
        self._asked = 1
        self._empty = 0
        # One marker is remembered, ever further apart: a circle of whatever length comes back to it.
        self._landmark: Markers | None = None
        self._next_landmark = 1

    def go_on(self, markers: Markers, *, is_empty: bool, has_removed: bool = False) -> None:
        """After a page that is not the last. Raises `EndlessListingError` for a listing that does not move on.

        Where something of it was removed, the same page is asked for once more: the next one begins behind its last
        entry, which may be one that is gone, and what a store makes of that is not known.
        """
        self._count()
        if has_removed:
            return
        if markers in (self.markers, self._landmark):
            raise self._failing("lists the same page again and again")
        self._empty = self._empty + 1 if is_empty else 0
        if self._empty > _MAX_EMPTY_PAGES:
            raise self._failing(f"lists more than {_MAX_EMPTY_PAGES} pages with nothing on them, and goes on")
        if self._asked >= self._next_landmark:
            self._landmark, self._next_landmark = markers, 2 * self._next_landmark
        self.markers = markers

    def _count(self) -> None:
        self._asked += 1
        if self._most is not None and self._asked > self._most:
            raise self._failing(f"lists more than {self._most} pages about one key")

    def _failing(self, why: str) -> EndlessListingError:
        return EndlessListingError(self._account, self._operation, why)
