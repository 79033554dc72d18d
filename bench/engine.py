"""A Docker Engine of our own, with an image of its own, that sees our daemon as a driver."""

import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.subject import daemon

# Every engine of a host looks for plugins here, so the driver's name must be ours alone.
_PLUGINS = Path("/run/docker/plugins")
_START_LIMIT = 60.0
IMAGE = "bench"
# A file of the image that containers of the bench write to.
BIG = "files/big"


@dataclass(frozen=True)
class Engine:
    """A running engine; `driver` is the name by which it knows our daemon."""

    host: str
    driver: str

    def docker(self, *arguments: str) -> str:
        """What the docker command says; raises CalledProcessError."""
        argv = ["docker", "--host", self.host, *arguments]
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    def volume(self, name: str, driver: str, **options: str) -> None:
        pairs = [part for key, value in options.items() for part in ("--opt", f"{key}={value}")]
        self.docker("volume", "create", "--driver", driver, *pairs, name)


@contextmanager
def engine(folder: Path, big: int = 0) -> Iterator[Engine]:
    """An engine and our daemon below `folder`; the image's BIG has so many bytes."""
    plugin = _PLUGINS / f"convoy-bench-{os.getpid()}.sock"
    (folder / "convoy").mkdir()
    with daemon(folder / "convoy", 0, plugin), dockerd(folder) as host:
        running = Engine(host, plugin.stem)
        try:
            image = folder / "image.tar"
            _write_image(image, big)
            running.docker("import", str(image), IMAGE)
            image.unlink()
            yield running
        finally:
            _remove_all(running)


@contextmanager
def dockerd(folder: Path) -> Iterator[str]:
    host = f"unix://{folder}/docker.sock"
    argv: list[str | Path] = ["dockerd", "--host", host, "--data-root", folder / "docker"]
    argv += ["--exec-root", folder / "exec", "--pidfile", folder / "docker.pid"]
    argv += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    with (folder / "docker.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        _wait_ready(process, host)
        yield host
    finally:
        process.terminate()
        process.wait()


def _wait_ready(process: subprocess.Popen[bytes], host: str) -> None:
    deadline = time.perf_counter() + _START_LIMIT
    argv = ["docker", "--host", host, "version"]
    while subprocess.run(argv, check=False, capture_output=True).returncode != 0:
        if process.poll() is not None or time.perf_counter() > deadline:
            raise RuntimeError(f"dockerd did not start: exit code {process.poll()}")
        time.sleep(0.1)


def _remove_all(running: Engine) -> None:
    # Every engine lists the volumes of all plugins of the host: those of others stay.
    ours = f"--filter=driver={running.driver} --filter=driver=local"
    for kind, remove in (("ps --all", "rm --force --volumes"), (f"volume ls {ours}", "volume rm")):
        if names := running.docker(*kind.split(), "--quiet").split():
            running.docker(*remove.split(), *names)


def _write_image(path: Path, big: int) -> None:
    """A static busybox is all that a container needs."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise RuntimeError("busybox is missing: install the package busybox-static")
    with tarfile.open(path, "w") as tar:
        tar.add(busybox, "bin/busybox", filter=_as_root)
        for name in ("sh", "true", "sleep"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        info = tarfile.TarInfo(BIG)
        info.size = big
        with open("/dev/zero", "rb") if big else io.BytesIO() as content:
            tar.addfile(info, content)


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    return info
