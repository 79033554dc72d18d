"""Volumes of one backend on one host filesystem, handled as the engine handles them."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO
from uuid import uuid4

from convoy_py.backends import mountpoints
from convoy_py.backends.base import Backend, Place
from convoy_py.config import Settings
from convoy_py.linux import files, filesystems, mounts
from convoy_py.linux.holders import Census, Holder
from convoy_py.models.volume import Options

MIB = 2**20
PATIENCE = 3.0  # seconds


@dataclass(frozen=True)
class Case:
    """A row of the table: a backend, and options that make a small volume of it quickly."""

    name: str
    build: Callable[[Settings], Backend]
    data: str  # what in a volume's home holds its data
    options: Options = field(default_factory=Options)
    limited_on: frozenset[str] = frozenset()  # host filesystems on which a size is enforced


@dataclass(frozen=True)
class Host:
    """A folder on a filesystem of one kind."""

    folder: Path
    fs: str


class Bed:
    """A root of its own on a host; `close` leaves no process, mount, device or file behind."""

    def __init__(self, host: Host, case: Case) -> None:
        self.host = host
        self.case = case
        self.root = Path(tempfile.mkdtemp(prefix="bed-", dir=host.folder)).resolve()
        self.volumes = self.root / "volumes"
        self.volumes.mkdir()
        self.backend = case.build(Settings(root=self.root))
        self._mounts = self.root / "mounts"
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()
        for mount in reversed(mounts.below(self.root)):
            subprocess.run(["umount", "-l", mount.mountpoint], check=False)
        for device in self.devices():
            subprocess.run(["losetup", "-d", device], check=False, stderr=subprocess.DEVNULL)
        for path in self._mounts.glob("*"):
            files.set_immutable(path, on=False)
        shutil.rmtree(self.root)

    # What the engine does

    def staged(self, name: str = "vol", **options: object) -> Place:
        """A place to build a volume in; `options` go over those of the case."""
        asked = self.case.options.model_copy(update=options)
        staging = self.volumes / f".new-{name}"
        staging.mkdir(mode=0o700)
        mountpoint = self._mounts / staging.name
        return Place(name, str(uuid4()), staging, mountpoint, self.backend.resolve(asked))

    def created(self, name: str = "vol", **options: object) -> Place:
        """A volume, built beside its place and renamed into it."""
        place = self.staged(name, **options)
        spec = self.backend.create(place)
        return self.settled(replace(place, spec=spec))

    def settled(self, place: Place) -> Place:
        home = place.home.rename(self.volumes / place.name)
        return replace(place, home=home, mountpoint=self._mounts / place.name)

    def mounted(self, place: Place) -> Path:
        """Mount; the exposed folder."""
        mountpoints.make(place.mountpoint)
        self.backend.mount(place)
        return self.backend.exposed(place)

    def remounted(self, place: Place) -> Path:
        self.unmounted(place)
        return self.mounted(place)

    def unmounted(self, place: Place) -> None:
        """Unmount; once more, as the engine does, while something else on the machine holds it.

        A container that is just being started has copies of all mounts for a moment.
        """
        _wait_until(lambda: self.backend.unmount(place))

    def holders(self, place: Place) -> Sequence[Holder]:
        return self.backend.holders(place, Census.take())

    def abandoned(self, place: Place) -> None:
        self.backend.abandon(place)
        files.remove_tree(place.home)
        mountpoints.remove(place.mountpoint)

    # What others do

    def leak(self) -> "Stranger":
        """A process in a mount namespace of its own, with copies of all mounts of this moment."""
        return self._start("unshare", "-m", "--propagation", "private")

    def opener(self, path: Path) -> "Stranger":
        """A process on the host that has `path` open."""
        return self._start("env", opening=path)

    def cover(self, path: Path) -> None:
        """Mount something foreign at a path."""
        subprocess.run(["mount", "-t", "tmpfs", "foreign", path], check=True)

    def _start(self, *command: str, opening: Path = Path("/dev/null")) -> "Stranger":
        script = f"exec 3<'{opening}'; echo ready; read _"
        child = subprocess.Popen(
            [*command, "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        stranger = Stranger(child)
        self._stack.callback(stranger.end)
        stranger.await_ready()
        return stranger

    # What can be seen

    def data(self, place: Place) -> Path:
        return place.home / self.case.data

    def devices(self) -> list[str]:
        """Loop devices whose backing file lies below this root, as the kernel tells."""
        found = []
        for path in Path("/sys/block").glob("loop*/loop/backing_file"):
            with suppress(OSError):  # it was detached just now
                if path.read_text().startswith(f"{self.root}/"):
                    found.append(f"/dev/{path.parts[3]}")
        return found

    def detached(self) -> None:
        """Assert that no device is left.

        Whoever looks at all devices of the machine, as udev and other daemons do, keeps one
        attached for that moment.
        """
        _wait_until(lambda: not self.devices())

    def mount_options(self, place: Place) -> set[str]:
        """What the mount table says of the topmost mount at the volume's mountpoint."""
        found = mounts.find(place.mountpoint)
        return {*found.options, *found.super_options} if found else set()

    def at_rest(self, place: Place | None = None) -> None:
        """Assert that nothing is mounted or attached, and that a filesystem of ours is sound."""
        assert mounts.below(self.root) == []
        self.detached()
        if place is not None and self.data(place).is_file():
            fs = filesystems.identify(self.data(place))
            assert fs is not None
            filesystems.check(fs, self.data(place))

    def flush(self, place: Place) -> None:
        """Bring on disk what was written, in the volume and on its host."""
        files.sync_filesystem(self.backend.exposed(place))
        files.sync_filesystem(place.home)


class Stranger:
    """A process of someone else, until it is ended."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    def await_ready(self) -> None:
        assert _stream(self._child.stdout).readline() == b"ready\n"

    def end(self) -> None:
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            _stream(stream).close()


def _wait_until(done: Callable[[], bool]) -> None:
    """Look often, and assert that it comes true before long: what stays is really left."""
    deadline = time.monotonic() + PATIENCE
    while not (come_true := done()) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert come_true


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def written(path: Path, size: int) -> None:
    """Write so many bytes that no filesystem can store in fewer, durably."""
    with path.open("wb") as file:
        file.write(os.urandom(size))
        file.flush()
        os.fsync(file.fileno())
