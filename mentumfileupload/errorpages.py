"""Django's error pages with `DEBUG=true`: they show no variable and no setting, and a traceback on loopback only.

If the database cannot be reached, the variables of a frame contain its password; settings contain addresses and names.
So no report has them, neither a page nor a mail. The traceback with its lines of code is shown to clients on loopback;
a request through a proxy does not count as loopback.
"""

import ipaddress
from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin
from django.utils.safestring import SafeString, mark_safe
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter
from django.views.defaults import page_not_found

_PLAIN = mark_safe(
    '<!doctype html>\n<html lang="en">\n<head><title>Error</title></head>\n<body><h1>Error</h1>\n'
    "<p>This page cannot be shown. The log says why, under the X-Request-Id of this answer.</p></body>\n</html>\n"
)
_PLAIN_TEXT = mark_safe("Error: this page cannot be shown.\n")
_OF_A_PROXY = ("HTTP_FORWARDED", "HTTP_X_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")


class NoValues(SafeExceptionReporterFilter):
    """Reduces a report to the traceback, and the headers of the request without secrets."""

    def get_safe_settings(self) -> dict[str, Any]:
        return {}

    def get_safe_cookies(self, request: HttpRequest | None) -> dict[str, Any]:
        return {}

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        return {}

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: FrameType) -> ItemsView[str, Any]:
        return dict[str, Any]().items()


class Reporter(ExceptionReporter):
    """Shows a traceback on loopback and in a mail; elsewhere it only says that there was an error."""

    def get_traceback_html(self) -> SafeString:
        return super().get_traceback_html() if self._may_tell() else _PLAIN

    def get_traceback_text(self) -> SafeString:
        return super().get_traceback_text() if self._may_tell() else _PLAIN_TEXT

    def _may_tell(self) -> bool:
        return self.is_email or self.request is None or is_from_here(self.request)


class PlainNotFound(MiddlewareMixin):
    """Shows Django's technical 404 page, which lists all paths, on loopback only."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if settings.DEBUG and isinstance(exception, Http404) and not is_from_here(request):
            return page_not_found(request, exception)
        return None


def is_from_here(request: HttpRequest) -> bool:
    """Whether the client probably runs on this machine."""
    if any(name.startswith(_OF_A_PROXY) for name in request.META):
        return False
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
