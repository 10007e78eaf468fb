"""Runs the built image as users do, uploads through it, and examines every account.

Used by scripts/image-check, which has built the image. Promises: prints each successful check in a line, and ends with
1 at the first failed one; everything that it started is stopped, except the container, which the caller removes.
"""

import json
import secrets
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from testkit.seaweed import Seaweed, start_stores, stop_stores

IMAGE = "file-upload"
EXAMPLE = Path(__file__).resolve().parent.parent / "mentumfileupload" / ".env.example"
ADDRESS = "http://127.0.0.1:8000"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
# Loopback is reached directly, without the proxy of the environment.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class CheckError(Exception):
    """The failed check in one line."""


class Container:
    """The image, running under podman on the host's network."""

    def __init__(self, podman: list[str], name: str) -> None:
        self._podman = podman
        self.name = name

    def run(self, env_file: Path) -> None:
        # Podman's default limits are higher than a root user without all capabilities may set.
        limits = ("--ulimit=nofile=4096", "--ulimit=nproc=4096")
        options = ("--detach", "--network=host", f"--env-file={env_file}", f"--name={self.name}")
        self._call("run", *options, *limits, IMAGE)

    def execute(self, *command: str) -> str:
        return self._call("exec", self.name, *command)

    def image(self) -> dict[str, Any]:
        image: dict[str, Any] = json.loads(self._call("image", "inspect", IMAGE))[0]
        return image

    def log(self) -> str:
        found = subprocess.run([*self._podman, "logs", self.name], capture_output=True, text=True, check=False)
        return found.stdout + found.stderr

    def running(self) -> bool:
        return self._call("inspect", "--format", "{{.State.Running}}", self.name) == "true"

    def stop(self) -> int:
        """Sends only SIGTERM, and returns the exit code."""
        self._call("kill", "--signal", "TERM", self.name)
        return int(self._call("wait", self.name, timeout_seconds=STOP_SECONDS))

    def _call(self, *arguments: str, timeout_seconds: float = 120.0) -> str:
        try:
            done = subprocess.run(
                [*self._podman, *arguments], capture_output=True, text=True, timeout=timeout_seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise CheckError(f"podman {arguments[0]} did not end within {timeout_seconds:g} seconds") from None
        if done.returncode != 0:
            raise CheckError(f"podman {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout.strip()


def main(scratch: Path, name: str, podman: list[str]) -> int:
    container = Container(podman, name)
    stores: list[Seaweed] = []
    try:
        stores = start_stores(scratch / "stores", ["A", "B", "C"])
        check(container, stores, scratch)
    except CheckError as error:
        print(f"image check: {error}", file=sys.stderr)
        print(container.log(), file=sys.stderr)
        return 1
    finally:
        stop_stores(stores)
    return 0


def check(container: Container, stores: list[Seaweed], scratch: Path) -> None:
    image = container.image()
    configuration = image["Config"]
    expect(configuration["User"] not in ("", "0", "root"), "the image's user is not root")
    expect("/data" in (configuration.get("Volumes") or {}), "the image declares the volume /data")
    health_check = (image.get("Healthcheck") or {}).get("Test", [])
    expect(health_check[:1] == ["CMD"], "the image has a health check")

    token = secrets.token_urlsafe(24)
    container.run(env_file(scratch / "env", stores, token))
    wait_for_health(container)
    expect(
        container.execute("python", "-c", "import os; print(os.getuid())") not in ("", "0"), "it does not run as root"
    )
    container.execute(*health_check[1:])
    say("its own health check passes")
    listing = "import os; print([f for d, _, fs in os.walk('/app') for f in fs if f.startswith('.env')])"
    expect(container.execute("python", "-c", listing) == "[]", "there is no .env file in it")
    expect(
        container.execute("python", "-c", "import os; print(os.access('/data', os.W_OK))") == "True",
        "/data can be written",
    )

    content = secrets.token_bytes(100_000)
    receipt = upload(token, content)
    for store in stores:
        client = store.account.boto3()
        body = client.get_object(Bucket=store.account.s3_bucket_name, Key=receipt["key"])["Body"].read()
        expect(body == content, f"account {store.account.name} has the whole file")

    start = time.monotonic()
    code = container.stop()
    expect(code == 0, f"SIGTERM ends it with exit code 0 (exit code {code}, {time.monotonic() - start:.1f} seconds)")


def env_file(path: Path, stores: list[Seaweed], token: str) -> Path:
    """The example file as users fill it in: with their own accounts and a token."""
    variables = {"UPLOAD_TOKENS": json.dumps({"check": token})}
    for store in stores:
        variables |= store.account.environment()
    example = EXAMPLE.read_text().splitlines()
    lines = [line for line in example if line.partition("=")[0] not in variables]
    path.touch(mode=0o600)
    path.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in variables.items())]) + "\n")
    return path


def wait_for_health(container: Container) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with HTTP.open(f"{ADDRESS}/_/health", timeout=5) as answer:
                expect(json.load(answer)["data"]["status"] == "ok", "it answers /_/health")
                return
        except OSError:
            if not container.running():
                raise CheckError("the container ended at its start") from None
            if time.monotonic() > deadline:
                raise CheckError(f"nothing answers at {ADDRESS} after {START_SECONDS:g} seconds") from None
            time.sleep(0.2)


def upload(token: str, content: bytes) -> dict[str, Any]:
    """POST /upload with `file` and `filename`, as a browser or curl sends it."""
    boundary = secrets.token_hex(16)
    fields = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="filename"\r\n\r\nimage check.bin\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    )
    body = fields.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": f"multipart/form-data; boundary={boundary}"}
    request = urllib.request.Request(f"{ADDRESS}/upload", data=body, headers=headers, method="POST")
    try:
        with HTTP.open(request, timeout=60) as answer:
            expect(answer.status == 201, "an upload through it is answered 201")
            receipt: dict[str, Any] = json.load(answer)
            return receipt
    except OSError as error:
        raise CheckError(f"the upload was not answered with 201: {error}") from error


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise CheckError(f"does not hold: {what}")
    say(what)


def say(what: str) -> None:
    print(f"image check: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
