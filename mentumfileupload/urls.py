"""The URLs of Django's pages behind the API: the admin, and a front page for browsers.

Promises: the front page says how to upload and how many accounts there are, but not their names or buckets, because it
is public. A path without a pattern here never reaches Django: the application around it answers 404.
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
    path("admin/login/", login),  # before the log-in page of the admin
    path("admin/", admin.site.urls),
]
