"""Django's pages, which stand behind the API: a front page for whoever opens the address in a browser.

Promises: the page tells how to upload and how many accounts there are, but neither their names nor their buckets, for
it is open to everybody. What stands in no pattern here never gets to Django: the application around it says so.
"""

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

from file.adminlogin import login

_CONTENT_SECURITY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@csrf_exempt
@require_safe
def front(request: HttpRequest) -> HttpResponse:
    upload = settings.UPLOAD
    context = {
        "address": f"{request.scheme}://{request.get_host()}",
        "account_count": len(upload.accounts),
        "needs_token": not upload.open,
        "max_request_bytes": upload.max_request_bytes,
    }
    response = render(request, "file/front.html", context)
    response["Content-Security-Policy"] = _CONTENT_SECURITY
    return response


urlpatterns = [
    path("", front),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/login/", login),  # in front of the admin's own
    path("admin/", admin.site.urls),
]
