"""`rclone serve s3` over a union of the accounts in which every upload goes to all of them."""

import http.client
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.contestants.contestant import Gateway
from bench.folders import VENV
from bench.processes import clean_environment, start_process, stop_process, wait_until
from testkit.account import StoreAccount
from testkit.ports import free_port

# The variant without the check after each upload.
SPARED = "rclone, no_head"
_BUCKET = "box"


class Rclone(Gateway):
    """`looks_again`: after each upload it asks every account for the object (the default of rclone).

    `authority`: a PEM file of the authority that issued the certificates of the accounts, if these speak TLS.
    """

    def __init__(
        self,
        accounts: Sequence[StoreAccount],
        folder: Path,
        *,
        looks_again: bool = True,
        name: str = "rclone",
        authority: Path | None = None,
    ) -> None:
        super().__init__(name, folder)
        self.path = f"/{_BUCKET}/"
        self._accounts = accounts
        self._looks_again = looks_again
        self._trusts = ["--ca-cert", str(authority)] if authority else []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        configuration = self.log.with_name("rclone.conf")
        configuration.write_text(self._configuration())
        # It refuses a union of one account, so it serves one account directly.
        only = self._accounts[0]
        root = "fan:" if len(self._accounts) > 1 else f"{only.name.lower()}:{only.s3_bucket_name}"
        options = ["--config", str(configuration), *self._trusts]
        serving = ["serve", "s3", "--addr", f"127.0.0.1:{port}", "--no-cleanup", root]
        self._process = start_process([VENV / "rclone", *options, *serving], self.log, environment=clean_environment())
        wait_until(lambda: self._makes_bucket(port), self._process, self.log)

    def stop(self) -> None:
        stop_process(self._process)
        self._process = None

    def process_ids(self) -> list[int]:
        return [self._process.pid] if self._process is not None else []

    def _configuration(self) -> str:
        sections = []
        for account in self._accounts:
            lines = [
                f"[{account.name.lower()}]",
                "type = s3",
                "provider = SeaweedFS",
                f"access_key_id = {account.access_key_id}",
                f"secret_access_key = {account.secret_access_key}",
                f"region = {account.region_name}",
                f"endpoint = {account.endpoint_url}",
                "no_check_bucket = true",
            ]
            if not self._looks_again:
                lines += ["no_head = true", "no_head_object = true"]
            sections.append("\n".join(lines))
        upstreams = " ".join(f"{account.name.lower()}:{account.s3_bucket_name}" for account in self._accounts)
        policies = "create_policy = all\naction_policy = all\nsearch_policy = ff\ncache_time = 0"
        sections.append(f"[fan]\ntype = union\nupstreams = {upstreams}\n{policies}")
        return "\n\n".join(sections) + "\n"

    def _makes_bucket(self, port: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("PUT", f"/{_BUCKET}")
            return connection.getresponse().status in (200, 409)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
