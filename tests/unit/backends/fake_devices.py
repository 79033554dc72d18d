"""Loop devices and mounts that only pretend."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

from convoy_py.backends.base import Place
from convoy_py.backends.loopback import image as images
from convoy_py.linux.holders import Census, Holder
from convoy_py.linux.loop import Attached, LoopDevice


class Devices:
    """The loop devices and mounts of a host that there is not."""

    def __init__(self) -> None:
        self.attached: list[Attached] = []
        self.mounts: list[SimpleNamespace] = []
        self._holders: list[tuple[Path, str]] = []
        self.calls: list[str] = []
        self.busy = 0  # times that an image is locked by someone else
        self.vanishing = 0  # times that a device goes just before it is opened
        self.refusal: int | None = None

    def add(self, place: Place, tag: str | None = None) -> Attached:
        found = images.path(place).stat()
        device = LoopDevice(Path(f"/dev/loop{len(self.attached)}"), len(self.attached))
        attached = Attached(
            device=device,
            file_device=found.st_dev,
            inode=found.st_ino,
            tag=f"convoy:{place.uuid}" if tag is None else tag,
            autoclear=True,
            direct_io=True,
            read_only=False,
        )
        self.attached.append(attached)
        return attached

    def mount_at(self, mountpoint: Path, attached: Attached, root: str = "/") -> None:
        source = str(attached.device.path)
        self.mounts.append(
            SimpleNamespace(mountpoint=str(mountpoint), source=source, root=root, fstype="ext4")
        )

    def show(self, place: Place) -> None:
        """Have it mounted at its own mountpoint."""
        self.mount_at(place.mountpoint, self.add(place))

    def hold(self, attached: Attached, root: str) -> None:
        """Have somebody elsewhere show this part of the filesystem."""
        self._holders.append((attached.device.path, root))

    def census(self) -> Census:
        return _Found(self._holders)

    # What stands in for the kernel's

    def find(self, image: int | Path) -> list[Attached]:
        found = os.fstat(image) if isinstance(image, int) else image.stat()
        return [
            a for a in self.attached if (a.file_device, a.inode) == (found.st_dev, found.st_ino)
        ]

    def tagged(self, prefix: str, image: Path) -> list[Attached]:
        return [a for a in self.attached if a.tag.startswith(prefix)]

    def look(self, source: str) -> Attached | None:
        return next((a for a in self.attached if str(a.device.path) == source), None)

    def reopen(self, device: LoopDevice, image: int, *, read_only: bool) -> int:
        if self.vanishing:
            self.vanishing -= 1
            raise FileNotFoundError(device.path)
        self.calls.append(f"reopen {device.path} {'ro' if read_only else 'rw'}")
        return os.open(os.devnull, os.O_RDONLY)

    def attach(
        self, image: int, *, tag: str, block_size: int, read_only: bool
    ) -> tuple[LoopDevice, int]:
        if self.busy:
            self.busy -= 1
            raise BlockingIOError
        self.calls.append(f"attach {tag} {'ro' if read_only else 'rw'}")
        return LoopDevice(Path("/dev/loop9"), 9), os.open(os.devnull, os.O_RDONLY)

    def mount(self, source: Path, target: Path, fs: str, options: list[str]) -> None:
        self.calls.append(f"mount {source} {','.join(options)}")
        if self.refusal is not None:
            raise OSError(self.refusal, os.strerror(self.refusal))

    def mounted_at(self, mountpoint: Path) -> SimpleNamespace | None:
        return next((m for m in self.mounts if m.mountpoint == str(mountpoint)), None)


class _Found(Census):
    """A look at all mounts, of which some are others'."""

    def __init__(self, held: Sequence[tuple[Path, str]]) -> None:
        self._held = held

    def of_device(
        self,
        device: Path,
        mountpoint: Path,
        shows: Callable[[PurePosixPath], bool] = lambda root: True,
    ) -> list[Holder]:
        return [
            Holder(1, "sh", None, "/elsewhere")
            for path, root in self._held
            if path == device and shows(PurePosixPath(root))
        ]
