"""What a browser may load and run in a page of Django's: only what this service itself serves, and no inline script.

A page that sets a policy of its own keeps it. With `DEBUG` on, the technical error pages of Django have their style and
their script inside; they may use them.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

_REST = "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
# Of the one style that the admin writes into a page: the width of the first column of a list without actions.
_OF_A_LIST = "'sha256-blvLUW3UscWqsXGByNOqdBboM+ShWAuugp2mC/wbafU='"
_STRICT = f"default-src 'none'; script-src 'self'; style-src 'self' {_OF_A_LIST}; {_REST}"
_TECHNICAL = f"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; {_REST}"


class ContentSecurity(MiddlewareMixin):
    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        is_technical = settings.DEBUG and response.status_code >= 400
        response.headers.setdefault("Content-Security-Policy", _TECHNICAL if is_technical else _STRICT)
        return response
