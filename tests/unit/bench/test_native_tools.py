"""The null S3 answers like S3, and the load generator counts the answers."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from bench.errors import BenchError, MissingLibraryError
from bench.figures import KiB, MiB, Work
from bench.folders import NATIVE
from bench.native_tools import FLAGS, TLS_FLAGS, TLS_LIBRARIES, build, compiler, run_load
from testkit.account import StoreAccount
from testkit.processes import run_process

NullStoreOf = Callable[..., StoreAccount]
Native = dict[str, Path]


def work(size: int, requests: int, *, at_once: int = 2, limit_seconds: float = 20.0) -> Work:
    return Work(size=size, at_once=at_once, seconds=limit_seconds, limit_seconds=limit_seconds, requests=requests)


def port_of(account: StoreAccount) -> int:
    port = urlsplit(account.endpoint_url).port
    assert port is not None
    return port


def ask(account: StoreAccount, request: bytes) -> bytes:
    """All answers to these bytes, after which our side of the connection is closed."""
    with socket.create_connection(("127.0.0.1", port_of(account)), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while received := connection.recv(65536):
            answer += received
        return answer


@pytest.mark.parametrize("tool", ["nulls3", "load"])
def test_the_compiler_has_no_warnings(native: Native, tool: str) -> None:
    cc = compiler()
    assert cc is not None  # `native` was built
    command = [cc, *FLAGS, "-Werror", "-o", "/dev/null", str(NATIVE / f"{tool}.c")]
    done = run_process(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("tls_tool")
def test_the_compiler_has_no_warnings_when_the_null_s3_is_built_with_tls() -> None:
    cc = compiler()
    assert cc is not None
    command = [cc, *FLAGS, *TLS_FLAGS, "-Werror", "-o", "/dev/null", str(NATIVE / "nulls3.c"), *TLS_LIBRARIES]
    done = run_process(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_object_exists_from_its_put_to_its_delete(null_store: NullStoreOf) -> None:
    account = null_store("A")
    client, place = account.boto3(), {"Bucket": account.s3_bucket_name, "Key": "one"}
    with pytest.raises(ClientError) as refused:
        client.head_object(**place)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    assert client.put_object(**place, Body=b"x" * 5000)["ETag"].endswith('-1"')  # no MD5
    assert client.head_object(**place)["ContentLength"] == 5000
    client.delete_object(**place)
    with pytest.raises(ClientError):
        client.head_object(**place)


def test_the_parts_are_one_object_when_a_multipart_upload_is_completed(null_store: NullStoreOf) -> None:
    account = null_store("A")
    client, place = account.boto3(), {"Bucket": account.s3_bucket_name, "Key": "large"}
    upload_id = client.create_multipart_upload(**place)["UploadId"]
    sent = [client.upload_part(**place, UploadId=upload_id, PartNumber=n, Body=bytes(MiB)) for n in (1, 2)]
    with pytest.raises(ClientError):
        client.head_object(**place)
    parts = [{"PartNumber": number, "ETag": part["ETag"]} for number, part in enumerate(sent, 1)]
    client.complete_multipart_upload(**place, UploadId=upload_id, MultipartUpload={"Parts": parts})
    assert client.head_object(**place)["ContentLength"] == 2 * MiB


def test_nothing_is_listed_when_a_bucket_is_asked(null_store: NullStoreOf) -> None:
    account = null_store("A")
    account.boto3().put_object(Bucket=account.s3_bucket_name, Key="one", Body=b"x")
    assert not account.contents()
    assert account.boto3().list_objects_v2(Bucket=account.s3_bucket_name)["KeyCount"] == 0


def test_the_next_request_is_answered_when_the_previous_body_was_chunked(null_store: NullStoreOf) -> None:
    chunked = b"PUT /b/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\nabcde\r\n0\r\n\r\n"
    answer = ask(null_store("A"), chunked + b"HEAD /b/k HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.endswith(b"Content-Length: 8\r\n\r\n")


def test_the_client_gets_a_100_when_it_waits_for_it(null_store: NullStoreOf) -> None:
    with socket.create_connection(("127.0.0.1", port_of(null_store("A"))), timeout=10) as connection:
        connection.sendall(b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_answers_do_not_wait_for_each_other_when_they_are_delayed(null_store: NullStoreOf, native: Native) -> None:
    account = null_store("A", delay_ms=500)
    load = run_load(native["load"], port_of(account), "/b/", work(100, 20, at_once=20))
    assert load.operations == 20
    assert load.p50 is not None
    assert load.p50 >= 0.5
    assert load.seconds < 20 * 0.5  # one after the other they would take longer


def test_bodies_are_read_slowly_when_a_rate_is_given(null_store: NullStoreOf, native: Native) -> None:
    account = null_store("A", bytes_per_second=1_000_000)
    load = run_load(native["load"], port_of(account), "/b/", work(250_000, 2))
    assert load.operations == 2
    assert load.seconds >= 0.45


@pytest.mark.parametrize("is_form", [False, True])
def test_every_upload_is_counted_when_all_are_answered(null_store: NullStoreOf, native: Native, is_form: bool) -> None:
    load = run_load(native["load"], port_of(null_store("A")), "/b/k", work(100 * KiB, 30, at_once=3), is_form=is_form)
    assert (load.operations, load.refused, load.lost, load.unfinished, load.first_bad) == (30, 0, 0, 0, "")
    times = [time for time in (load.p50, load.p99, load.max) if time is not None]
    assert len(times) == 3
    assert 0 < times[0] <= times[1] <= times[2] <= load.seconds


def test_every_upload_has_a_key_and_a_length_of_its_own_when_they_are_put(
    null_store: NullStoreOf, native: Native
) -> None:
    account = null_store("A")
    run_load(native["load"], port_of(account), f"/{account.s3_bucket_name}/k", work(3 * MiB + 7, 3))
    heads = [account.boto3().head_object(Bucket=account.s3_bucket_name, Key=f"k{number}") for number in range(3)]
    assert [head["ContentLength"] for head in heads] == [3 * MiB + 7] * 3


class Refusing(BaseHTTPRequestHandler):
    """Accepts every other upload."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, bytes]]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, self.headers["x-test"], body))
        answer = b'{"code": "busy"}'
        self.send_response(201 if len(self.seen) % 2 else 503)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_POST(self) -> None:
        self.do_PUT()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def refusing() -> Iterator[tuple[int, list[tuple[str, str, bytes]]]]:
    seen: list[tuple[str, str, bytes]] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Refusing,), {"seen": seen})) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_address[1], seen
        finally:
            server.shutdown()
            serving.join()


def test_the_first_refusal_is_shown_and_the_exit_code_is_1_when_an_answer_is_not_2xx(native: Native) -> None:
    with refusing() as (port, _):
        load = run_load(native["load"], port, "/k", work(100, 6, at_once=1))
        options = ["--port", str(port), "--path", "/k", "--size", "9", "--requests", "2"]
        assert run_process([native["load"], *options], capture_output=True).returncode == 1
    assert (load.operations, load.refused) == (3, 3)
    assert load.first_bad.startswith("HTTP/1.1 503")
    assert load.first_bad.endswith('{"code": "busy"}')


def test_headers_and_bodies_arrive_when_they_are_uploaded(native: Native) -> None:
    with refusing() as (port, seen):
        run_load(native["load"], port, "/k", work(2 * MiB, 2, at_once=1), headers=("X-Test: yes",))
    assert [(path, header, len(body)) for path, header, body in seen] == [
        ("/k0", "yes", 2 * MiB),
        ("/k1", "yes", 2 * MiB),
    ]
    assert seen[0][2][:MiB] == seen[0][2][MiB:]


def test_a_form_contains_its_file_when_it_is_posted(native: Native) -> None:
    with refusing() as (port, seen):
        run_load(native["load"], port, "/upload", work(50, 1, at_once=1), headers=("X-Test: yes",), is_form=True)
    path, _, body = seen[0]
    assert path == "/upload"
    assert body.startswith(b'--the-boundary-of-the-load\r\nContent-Disposition: form-data; name="file"')
    head, _, rest = body.partition(b"\r\n\r\n")
    assert b'filename="0.bin"' in head
    assert len(rest) == 50 + len(b"\r\n--the-boundary-of-the-load--\r\n")


def test_uploads_without_an_answer_are_unfinished_when_the_time_limit_ends(
    null_store: NullStoreOf, native: Native
) -> None:
    account = null_store("A", delay_ms=60_000)
    load = run_load(native["load"], port_of(account), "/b/k", work(10, 3, at_once=3, limit_seconds=0.3))
    assert (load.operations, load.unfinished, load.refused, load.lost) == (0, 3, 0, 0)


@pytest.mark.parametrize("name", ["nulls3", "load"])
def test_an_option_is_refused_when_it_is_no_number(native: Native, name: str) -> None:
    done = run_process([native[name], "--port", "many"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2
    assert "many" in done.stderr


def test_an_error_says_so_when_there_is_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="no C compiler"):
        build("nulls3", tmp_path / "native")


def test_an_error_names_the_package_when_openssl_cannot_be_compiled_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = tmp_path / "cc"
    without.write_text("#!/bin/sh\nexit 1\n")  # as every compiler that finds no openssl/ssl.h
    without.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingLibraryError, match="libssl-dev"):
        build("nulls3", tmp_path / "native", with_tls=True)


def test_a_certificate_is_refused_when_the_null_s3_was_built_without_tls(native: Native, tmp_path: Path) -> None:
    done = run_process([native["nulls3"], "--tls", tmp_path / "any"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2
    assert "without TLS" in done.stderr


def test_a_certificate_is_refused_when_it_cannot_be_read(tls_tool: Path, tmp_path: Path) -> None:
    done = run_process([tls_tool, "--tls", tmp_path / "missing"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2
    assert "missing" in done.stderr
