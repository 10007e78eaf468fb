"""Every answer has `nosniff`: a browser does not guess another type."""

import pytest

from tests.serving import running
from tests.unit.api.expectations import three
from tests.unit.api.rawhttp import BOUNDARY, exchange, form_head, form_part, head, put

PAGE = b"<html><script>alert(1)</script>"
ASKED = {
    "GET /_/health": 200, "GET /_/ready": 200, "GET /_/accounts": 200, "GET /_/metrics": 200, "GET /files": 200,
    "GET /files/page": 200, "GET /files/none": 404, "GET /receipts/none": 404, "GET /files?limit=%3Cscript%3E": 400,
    "GET /none": 404, "POST /_/health": 405, "OPTIONS /files": 204, "DELETE /files/none": 404, "PUT /files/a/../b": 400,
    "GET /files/page?x-amz-signature=x": 501, "DELETE /files/page": 200,
}  # fmt: skip


@pytest.mark.parametrize("origins", [(), ("*",)], ids=["", "with CORS"])
async def test_every_answer_of_the_api_has_nosniff_once(origins: tuple[str, ...]) -> None:
    async with running(three(), cors_origins=origins) as service:
        answers = {"PUT": (201, await put(service, "page", PAGE))}
        sent = form_part("file", PAGE, filename="page.html") + f"--{BOUNDARY}--\r\n".encode()
        answers["POST"] = 201, await exchange(service, form_head(f"content-length: {len(sent)}"), sent)
        answers["no token"] = 401, await exchange(service, b"GET /files HTTP/1.1\r\nhost: x\r\n\r\n")
        answers["no host"] = 400, await exchange(service, b"GET /files HTTP/1.1\r\nhost: <\r\n\r\n")
        for request, status in ASKED.items():
            method, _, target = request.partition(" ")
            answers[request] = status, await exchange(service, head(method, target, "content-length: 0"))
        for name, (status, answer) in answers.items():
            assert answer.status_code == status, (name, answer)
            assert answer.headers.get("x-content-type-options") == "nosniff", name
