"""Django's pages, which stand behind the API: a front page for whoever opens the address in a browser.

Promises: the page tells how to upload and how many accounts there are, but neither their names nor their buckets, for
it is open to everybody. Everything else is a plain 404, with DEBUG on as well.
"""

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from django.shortcuts import render
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

_CONTENT_SECURITY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


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


@csrf_exempt  # a mistyped POST must hear that there is nothing here, not of a cookie
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    text = "404: there is nothing here. Uploads go to POST /upload or PUT /files/{key}.\n"
    return HttpResponseNotFound(text, content_type="text/plain; charset=utf-8")


handler404 = not_found
urlpatterns = [
    path("", front),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    re_path("", not_found),
]
