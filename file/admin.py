"""The ledger in Django's admin: read-only, also for a superuser.

Promises: every page stays fast with millions of files. So no count is complete, every order uses an index, and a
search takes the beginning of a key, or an id. A narrower search finds files that a page does not show.
"""

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property

from file.ledger.read.queries import end_of_prefix, is_storable, uuid_of
from file.ledger.states import IS_PARTIAL
from file.logic.values import FileState
from file.models import File, Replica

if TYPE_CHECKING:
    _FileAdmin = admin.ModelAdmin[File]
    _ReplicaInline = admin.TabularInline[Replica, File]
    _Paginator = Paginator[File]
else:
    _FileAdmin, _ReplicaInline, _Paginator = admin.ModelAdmin, admin.TabularInline, Paginator

MOST_SHOWN = 1000


class LookOnly:
    """Removes every permission except to view."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class FirstPages(_Paginator):
    """The pages of the first `MOST_SHOWN` files, because counting two million files takes seconds."""

    @cached_property
    def count(self) -> int:
        found: QuerySet[File] = self.object_list  # type: ignore[assignment]
        return len(found.values_list("pk")[:MOST_SHOWN])


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, state.value) for state in FileState]

    def queryset(self, request: HttpRequest, queryset: QuerySet[File]) -> QuerySet[File]:
        """Finds rare states by the partial indexes; a file that is being received has a lease."""
        state = self.value()
        if state == FileState.PARTIAL:
            return queryset.filter(IS_PARTIAL)
        if state == FileState.RECEIVING:
            return queryset.filter(lease_until__isnull=False, state=state)
        if state in list(FileState):
            return queryset.filter(state=state)
        return queryset if state is None else queryset.none()


class AccountFilter(admin.SimpleListFilter):
    title = "account"
    parameter_name = "account"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(account.name, account.name) for account in settings.UPLOAD.accounts]

    def queryset(self, request: HttpRequest, queryset: QuerySet[File]) -> QuerySet[File]:
        account = self.value()
        if account is None:
            return queryset
        if not is_storable(account):
            return queryset.none()
        return queryset.filter(Exists(Replica.objects.filter(file=OuterRef("pk"), account=account)))


class ReplicaInline(LookOnly, _ReplicaInline):
    model = Replica
    fields = (
        "account", "state", "bucket", "object_key", "etag", "version_id", "checksum", "request_id", "attempts",
        "due_at", "last_look", "error_code", "stored_at",
    )  # fmt: skip
    readonly_fields = fields
    extra = 0
    ordering = ("account",)


@admin.register(File)
class FileAdmin(LookOnly, _FileAdmin):
    list_display = ("key", "name", "size", "state", "who", "created_at")
    list_filter = (StateFilter, AccountFilter)
    list_per_page = 50
    sortable_by = ()
    show_full_result_count = False
    paginator = FirstPages
    search_fields = ("key", "id")  # makes the search field appear; get_search_results does the search
    search_help_text = "The beginning of a key (of a file that was not erased), or a whole id."
    actions = None
    inlines = (ReplicaInline,)
    fields = (
        "id", "key", "live", "name", "content_type", "content_headers", "size", "sha256", "crc64nvme", "metadata",
        "part_size", "ack", "wanted", "state", "who", "lease_until", "created_at", "stored_at",
    )  # fmt: skip
    readonly_fields = fields

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Newest first, because ids begin with the time. The results of a search are in the order of its index."""
        return ("key",) if request.GET.get("q") else ("-id",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[File], search_term: str
    ) -> tuple[QuerySet[File], bool]:
        if not search_term:
            return queryset, False
        if found := uuid_of(search_term):
            return queryset.filter(pk=found), False
        if not is_storable(search_term):
            return queryset.none(), False
        queryset = queryset.filter(live=True, key__gte=search_term)
        end = end_of_prefix(search_term)
        return (queryset if end is None else queryset.filter(key__lt=end)), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = f"Files, at most the first {MOST_SHOWN:,} of them"
        return super().changelist_view(request, {**(extra_context or {}), "title": title})
