"""Filesystems of a test's own, in files, for a daemon's root to lie on."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from convoy_py.state.ballast import PIECES
from tests.crash.conftest import FLAGS
from tests.harness import Daemon, eventually

_MIB = 1 << 20


class Disk:
    """One that is mounted at `folder/host`; it goes with what `Daemon.clean` takes down."""

    def __init__(self, folder: Path, fs: str, mib: int, *options: str) -> None:
        """`options` are those of mkfs."""
        self._disk, self.at = folder / "disk", folder / "host"
        with self._disk.open("wb") as file:
            file.truncate(mib * _MIB)
        subprocess.run([f"mkfs.{fs}", "-q", *options, str(self._disk)], check=True)
        self.at.mkdir()
        self.mount()

    def mount(self) -> None:
        mount = ["mount", "-o", "loop", str(self._disk), str(self.at)]
        # Another test may take the loop device that is free at this moment.
        eventually(lambda: subprocess.run(mount, check=False).returncode == 0, "it is mounted")

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.at)], check=True)


@contextmanager
def daemon_on(folder: Path, fs: str, flags: Sequence[str] = FLAGS) -> Iterator[Daemon]:
    """A daemon that is not started yet, with its root on a filesystem of this kind.

    `host` is what the test's own folders lie on.
    """
    root = None if fs == "host" else Disk(folder, fs, 2048).at / "root"
    daemon = Daemon(folder, *flags, root=root)
    try:
        yield daemon
    finally:
        daemon.clean()
        daemon.let_go()


def settled(daemon: Daemon) -> None:
    """Wait until a daemon that was started has made, in the background, all that is its own."""
    daemon.listed()  # it has read the records, and made its folders
    ballast = daemon.root / "ballast"
    eventually(lambda: len(list(ballast.glob("*/1"))) == PIECES, "there is ballast")
    eventually(lambda: not _is_open_below(daemon.pid, ballast), "the ballast is on the disk")


def _is_open_below(pid: int, folder: Path) -> bool:
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed just now
            if fd.readlink().is_relative_to(folder):
                return True
    return False
