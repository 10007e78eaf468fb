"""Sends a file under a key: `python3 upload.py FILE KEY`. Prints which accounts have it.

Only the standard library. The file is sent as it is read, so that it needs no memory. A request that got no answer is
sent again with the same Idempotency-Key: the service carries it out once.
"""

import http.client
import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

URL = urlsplit(os.environ.get("MENTUM_URL", "http://127.0.0.1:8000"))
TOKEN = os.environ.get("MENTUM_TOKEN", "")
TRIES = 5


def main(path: Path, key: str) -> int:
    headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": str(uuid.uuid4())}
    for number in range(TRIES):
        try:
            status, answer, wait_seconds = send(path, f"/files/{quote(key)}", headers)
        except (OSError, http.client.HTTPException) as error:
            status, answer, wait_seconds = 0, {"detail": f"no answer: {error}", "retryable": True}, 0.0
        if status in (200, 201, 202) or not answer.get("retryable") or number == TRIES - 1:
            break
        time.sleep(wait_seconds or 2**number)
    print(f"{status}: {answer.get('detail', answer.get('status'))}")
    for name, account in answer.get("accounts", {}).items():
        print(f"  {name}: {account['status']} {account.get('error', {}).get('detail', '')}".rstrip())
    return 0 if status in (200, 201, 202) else 1


def send(path: Path, target: str, headers: dict[str, str]) -> tuple[int, dict[str, Any], float]:
    """The status, the JSON of the answer, and the seconds that the service asks us to wait."""
    connect = http.client.HTTPSConnection if URL.scheme == "https" else http.client.HTTPConnection
    connection = connect(URL.netloc, timeout=300)
    try:
        with path.open("rb") as body:
            size = str(path.stat().st_size)
            connection.request("PUT", target, body, {**headers, "Content-Length": size})
            answer = connection.getresponse()
        return answer.status, json.load(answer), float(answer.headers.get("Retry-After", 0))
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
