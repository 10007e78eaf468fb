"""The Content-Security-Policy of Django's pages: a browser may load only files of this service, and no inline script.

A page that sets its own policy keeps it. With `DEBUG=true`, the technical error pages of Django contain style and
script; they may use these.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

_REST = "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
# The hash of the only inline style of the admin: the width of the first column of a list without actions.
_OF_A_LIST = "'sha256-blvLUW3UscWqsXGByNOqdBboM+ShWAuugp2mC/wbafU='"
_STRICT = f"default-src 'none'; script-src 'self'; style-src 'self' {_OF_A_LIST}; {_REST}"
_TECHNICAL = f"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; {_REST}"


class ContentSecurity(MiddlewareMixin):
    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        is_technical = settings.DEBUG and response.status_code >= 400
        response.headers.setdefault("Content-Security-Policy", _TECHNICAL if is_technical else _STRICT)
        return response
