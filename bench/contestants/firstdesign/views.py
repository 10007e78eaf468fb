"""POST /upload: receives the whole form, then sends the file to every account, then answers."""

import os
import uuid

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from bench.contestants.firstdesign import keptclients, processpool

_STORE = {"pool": processpool.store, "kept": keptclients.store}[os.environ["BENCH_WAY"]]


@csrf_exempt
def upload(request: HttpRequest) -> JsonResponse:
    file = request.FILES.get("file") if request.method == "POST" else None
    if file is None:
        return JsonResponse({"error": "POST a form with a file"}, status=400)
    key = f"{uuid.uuid4().hex}-{file.name}"
    errors = _STORE(file, key)
    if errors:
        return JsonResponse({"error": errors}, status=502)
    return JsonResponse({"key": key}, status=201)
