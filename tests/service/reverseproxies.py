"""nginx, HAProxy and Caddy with the configurations of docs/reverse-proxies.md, on free ports."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from testkit.ports import free_port
from testkit.processes import dies_with_us

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reverse-proxies.md"
START_SECONDS = 30.0
# Debian installs servers in folders that only root's PATH has.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def shown(language: str) -> str:
    """The only block in this language on the page."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    return str(blocks[0])


@dataclass(frozen=True)
class Program:
    """`around` makes a complete file of what is shown; `arguments`: of the command, for this file."""

    name: str
    around: Callable[[str], str]
    arguments: Callable[[Path], list[str]]

    @property
    def path(self) -> str | None:
        return shutil.which(self.name, path=PATH)

    def configuration(self) -> str:
        return shown(self.name)


_NGINX_FOLDERS = "".join(f"{name}_temp_path {name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
NGINX = Program(
    "nginx",
    lambda text: (
        f"error_log stderr;\npid nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{_NGINX_FOLDERS}{text}}}\n"
    ),
    lambda file: ["-p", f"{file.parent}", "-c", file.name, "-e", "stderr", "-g", "daemon off; master_process off;"],
)
HAPROXY = Program("haproxy", lambda text: text, lambda file: ["-db", "-f", f"{file}"])
CADDY = Program(
    "caddy",
    lambda text: "{\nadmin off\ndefault_bind 127.0.0.1\nauto_https off\n}\n" + text,
    lambda file: ["run", "--adapter", "caddyfile", "--config", f"{file}"],
)


@dataclass(frozen=True)
class Proxy:
    url: str


@asynccontextmanager
async def in_front(
    program: Program, service_url: str, folder: Path, *, change: Callable[[str], str] = lambda text: text
) -> AsyncIterator[Proxy]:
    """The program in front of the service; `change` makes a configuration that is not shown."""
    assert program.path is not None
    port = free_port()
    text = change(program.configuration())
    for old, new in (
        ("127.0.0.1:8000", service_url.removeprefix("http://")),
        ("files.example.com:8080", f":{port}"),
        ("listen 8080", f"listen 127.0.0.1:{port}"),
        ("bind :8080", f"bind 127.0.0.1:{port}"),
    ):
        text = text.replace(old, new)
    assert str(port) in text
    file = folder / f"{program.name}.conf"
    file.write_text(program.around(text), encoding="utf-8")
    log = folder / f"{program.name}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program.path,
            *program.arguments(file),
            cwd=folder,
            env={"HOME": f"{folder}", "PATH": PATH},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=dies_with_us(),  # its fork is this thread's, which lives as long as the run
        )
    try:
        assert await _is_listening(process, port), log.read_text()
        yield Proxy(f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _is_listening(process: asyncio.subprocess.Process, port: int) -> bool:
    """Waits; False if the process has ended instead."""
    async with asyncio.timeout(START_SECONDS):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)  # only a connection tells that it listens
            else:
                writer.close()
                return True
    return False
