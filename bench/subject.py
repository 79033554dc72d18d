"""Runs our own daemon in a folder of its own, with as many volumes as wanted, and leaves nothing.

Volumes are prepared by writing their records, which takes seconds for 10 000.
"""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import client
from convoy_py.backends import mountpoints
from convoy_py.linux import files, mounts
from convoy_py.models.volume import Spec
from convoy_py.state.records import Record, encode, timestamp

PREFIX = "bench-"  # of the volumes that are prepared
_DISK, _RUN = Path("/var/tmp"), Path("/run")
_START_LIMIT = 60.0
_UNMOUNT_LIMIT = 30.0
_QUIET = 0.02  # of one processor, over _LOOK seconds
_LOOK = 1.0
_AS_INSTALLED = ("-m", "convoy_py", "daemon")
_WITHOUT_UVLOOP = """import sys
sys.modules["uvloop"] = None
from convoy_py.__main__ import main
main()"""
_PLAIN = ("-c", _WITHOUT_UVLOOP, "daemon")


@dataclass(frozen=True)
class Daemon:
    """A daemon that serves; `socket_open` and `answered` are seconds since its start."""

    folder: Path
    plugin: Path
    process: subprocess.Popen[bytes]
    socket_open: float
    answered: float

    @property
    def admin(self) -> Path:
        """The admin socket."""
        return self.folder / "admin.sock"

    @property
    def rss(self) -> int:
        """Resident memory, in bytes."""
        return self._status("VmRSS:")

    @property
    def rss_peak(self) -> int:
        return self._status("VmHWM:")

    def settle(self) -> None:
        """Wait until the daemon is done with what it does in the background after its start."""
        before = self.busy()
        while True:
            time.sleep(_LOOK)
            now = self.busy()
            if now - before < _QUIET * _LOOK:
                return
            before = now

    def busy(self, *, children: bool = False) -> float:
        """Processor seconds used so far; with `children` also those of programs that have ended."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = map(int, stat[11 : 15 if children else 13])
        return sum(ticks) / os.sysconf("SC_CLK_TCK")

    def _status(self, key: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
        raise LookupError(key)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on a disk, gone afterwards with all that is mounted below it and its `volatile`."""
    folder = Path(tempfile.mkdtemp(prefix="convoy-bench-", dir=_DISK)).resolve()
    volatile(folder).mkdir()
    try:
        yield folder
    finally:
        unmount_all(folder)
        for top in (volatile(folder), folder):
            files.remove_tree(top)


def unmount_all(folder: Path) -> None:
    """Take away what is mounted at or below a folder and its `volatile`, and the mountpoints."""
    for top in (volatile(folder), folder):
        for mount in reversed(mounts.below(top)):
            _unmount(Path(mount.mountpoint))
    for mountpoint in volatile(folder).glob("**/mounts/*"):
        if mountpoint.is_dir():
            mountpoints.remove(mountpoint)


def _unmount(mountpoint: Path) -> None:
    # Whoever looks at a loop device keeps it, and so what lies below its image, for that moment.
    deadline = time.perf_counter() + _UNMOUNT_LIMIT
    while not mounts.unmount_unless_busy(mountpoint):
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{mountpoint} is in use")
        time.sleep(0.01)


def volatile(folder: Path) -> Path:
    """The namesake of a scratch folder on the tmpfs of /run, where references and mounts belong."""
    return _RUN / folder.relative_to(_DISK)


@contextmanager
def daemon(
    folder: Path,
    volumes: int = 0,
    plugin: Path | None = None,
    *flags: str,
    on_asyncio: bool = False,
) -> Iterator[Daemon]:
    """Our daemon below `folder` with volumes `bench-0`… in it, ready to answer.

    `on_asyncio`: also where uvloop is installed.
    """
    root = folder / "root"
    prepare(root, volumes)
    plugin = plugin or folder / "plugin.sock"
    argv: list[str | Path] = [sys.executable, *(_PLAIN if on_asyncio else _AS_INSTALLED), *flags]
    argv += ["--root", root, "--run-dir", volatile(folder), "--plugin-socket", plugin]
    argv += ["--socket", folder / "admin.sock"]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("CONVOY_")}
    with (folder / "log").open("ab") as log:
        began = time.perf_counter()
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=plain)
    try:
        socket_open = _wait_open(process, plugin, began)
        client.call(plugin, client.request("VolumeDriver.List"))
        yield Daemon(folder, plugin, process, socket_open, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait()


def prepare(root: Path, volumes: int) -> None:
    """Write the records and folders of directory volumes; those that are there stay."""
    root.mkdir(mode=0o700, exist_ok=True)
    (root / "volumes").mkdir(mode=0o700, exist_ok=True)
    created = timestamp(1_700_000_000)
    for number in range(volumes):
        home = root / "volumes" / f"{PREFIX}{number}"
        if home.exists():
            continue
        (home / "data").mkdir(parents=True)
        spec = Spec(backend="directory", uid=0, gid=0, mode=0o755)
        ident = uuid.UUID(bytes=secrets.token_bytes(16), version=4)
        record = Record(name=home.name, uuid=str(ident), created=created, spec=spec)
        (home / "volume.json").write_bytes(encode(record))


def _wait_open(process: subprocess.Popen[bytes], plugin: Path, began: float) -> float:
    while process.poll() is None and time.perf_counter() - began < _START_LIMIT:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(plugin))
            return time.perf_counter() - began
        time.sleep(0.001)
    raise RuntimeError(f"the daemon did not start: exit code {process.poll()}")
