"""The loopback backend: a filesystem image in a file, attached to a loop device and mounted.

The image's size is the volume's hard limit. Containers see a folder inside the filesystem, so that
lost+found never shows and Docker finds an empty volume to copy an image's content into.

One image, one device: whoever attaches an image that is live on another device corrupts it, so an
image is always looked up among the attached ones first, by inode. A device of ours is known by its
tag. It detaches itself with the last unmount, wherever that happens.
"""

import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from convoy_py.backends import mountpoints
from convoy_py.backends.base import Backend, Place, foreign_mount, refuse_changes
from convoy_py.errors import Corrupt, InvalidOption, NotFound, OperationFailed, Unsupported
from convoy_py.linux import btrfs, files, filesystems, loop, mounts
from convoy_py.linux.holders import Census, Holder
from convoy_py.models.options import ALWAYS_ON
from convoy_py.models.sizes import format_size
from convoy_py.models.volume import IMAGE_SIZES, Filesystem, Options, Spec, Usage, show

TAG = "convoy:"
DATA = "data"
_LOOKS = 20
# Together 5 s: on a busy host a process may wait long for its turn.
_TRIES, _MOMENT = 1000, 0.005
_BETWEEN_LOOKS = 0.002  # seconds


class Loopback(Backend):
    """Volumes in filesystem images below the root."""

    name: ClassVar[str] = "loopback"

    def __init__(self, default_size: int, default_fs: Filesystem) -> None:
        self._default_size = default_size
        self._default_fs = default_fs

    def resolve(self, options: Options) -> Spec:
        if options.path is not None:
            raise Unsupported("option path is for backend=directory")
        fs = options.fs or self._default_fs
        size = self._default_size if options.size is None else options.size
        smallest, largest = IMAGE_SIZES[fs]
        if not smallest <= size <= largest:
            raise InvalidOption(
                f"size {show('size', size)} is outside of {show('size', smallest)} to "
                f"{show('size', largest)}, the sizes of {fs}"
            )
        return Spec(
            backend=self.name,
            size=size - size % filesystems.BLOCK,
            fs=fs,
            sparse=options.sparse is not False,
            uid=options.uid or 0,
            gid=options.gid or 0,
            mode=0o755 if options.mode is None else options.mode,
            mount_options=options.mount_options,
        )

    def promised(self, spec: Spec) -> int:
        return spec.size or 0

    def create(self, place: Place) -> Spec:
        spec, image = place.spec, _image(place)
        assert spec.fs is not None
        assert spec.size is not None
        fd = os.open(image, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if spec.sparse:
                os.ftruncate(fd, spec.size)
            else:
                # On btrfs a reserved block stays reserved only if it is overwritten in place.
                files.set_nocow(fd)
                files.allocate(fd, spec.size)
            filesystems.make(spec.fs, image, spec.size, uuid=place.uuid)
            self._furnish(place, spec)
            os.fsync(fd)
        finally:
            os.close(fd)
        return spec

    def adopt(self, place: Place, options: Options) -> Spec:
        image = _image(place)
        try:
            found = image.lstat()
        except FileNotFoundError:
            raise NotFound(f"volume {place.name}: no image at {image}") from None
        fs = filesystems.identify(image) if stat.S_ISREG(found.st_mode) else None
        if fs is None:
            raise Corrupt(f"volume {place.name}: {image} is not an image of {_known()}")
        _check_whole(place, fs)
        kept = place.spec.sparse
        spec = place.spec.model_copy(
            update={
                "size": found.st_size,
                "fs": Filesystem(fs),
                "sparse": found.st_blocks * 512 < found.st_size if kept is None else kept,
                "mount_options": options.mount_options or place.spec.mount_options,
            }
        )
        refuse_changes(place.name, spec, options)
        exposed = self._look_inside(replace(place, spec=spec))
        return spec.model_copy(update={"exposed": exposed})

    def exposed(self, place: Place) -> Path:
        return place.mountpoint / place.spec.exposed

    def is_mounted(self, place: Place) -> bool:
        mount = mounts.find(place.mountpoint)
        if mount is None:
            return False
        if not any(str(a.device.path) == mount.source for a in self._devices(place)):
            raise foreign_mount(place)
        return True

    def mount(self, place: Place) -> None:
        if self.is_mounted(place):
            return
        self._mount(place, place.spec.mount_options or ())
        if not self.exposed(place).is_dir():
            self.unmount(place)
            raise Corrupt(
                f"volume {place.name}: the folder {place.spec.exposed} is missing in its filesystem"
            )

    def unmount(self, place: Place) -> bool:
        devices = self._devices(place) if place.spec.sparse is False else []
        if self.is_mounted(place) and not mounts.unmount_unless_busy(place.mountpoint):
            return False
        if not self._let_go(place):
            return False
        for attached in devices:
            loop.retire(attached.device)
        return True

    def holders(self, place: Place, census: Census) -> Sequence[Holder]:
        found: list[Holder] = []
        for attached in self._devices(place):
            found += census.of_device(attached.device.path, place.mountpoint)
        return found

    def abandon(self, place: Place) -> None:
        if mounts.is_mountpoint(place.mountpoint):
            mounts.unmount(place.mountpoint)
        for attached in self._devices(place):
            loop.detach(attached.device)

    def destroy(self, place: Place) -> None:
        files.remove_tree(place.home)

    def parting_usage(self, place: Place, now: float) -> Usage | None:
        return self.usage(place, now)

    def usage(self, place: Place, now: float) -> Usage:
        allocated = _image(place).stat().st_blocks * 512
        if not mounts.is_mountpoint(place.mountpoint):
            return Usage(size=place.spec.size, allocated=allocated, sampled=now)
        space = filesystems.space(place.mountpoint)
        return Usage(
            size=space.size,
            used=space.used,
            available=space.available,
            allocated=allocated,
            sampled=now,
        )

    def check(self, place: Place) -> None:
        image = _image(place)
        try:
            found = image.stat()
        except FileNotFoundError:
            raise Corrupt(f"volume {place.name}: its image {image} is missing") from None
        if found.st_size != place.spec.size:
            raise Corrupt(
                f"volume {place.name}: its image {image} has {found.st_size} bytes, "
                f"recorded are {place.spec.size}; it was cut or changed from outside"
            )

    def facts(self) -> dict[str, str]:
        return {
            "default_size": format_size(self._default_size),
            "default_fs": self._default_fs,
            **{
                f"{fs}": " to ".join(format_size(bound) for bound in IMAGE_SIZES[fs])
                for fs in Filesystem
            },
        }

    def _devices(self, place: Place) -> list[loop.Attached]:
        """Every loop device, ours or not, on which the volume's image is live."""
        try:
            return loop.find(_image(place))
        except FileNotFoundError:
            # Deleted while it was mounted; a home that a crash left half made has no uuid.
            return loop.attached(TAG + place.uuid) if place.uuid else []

    def _let_go(self, place: Place) -> bool:
        """Whether no device has the image any more.

        Whoever looks at a device, as udev and our own threads do, keeps it attached for that
        moment, and so does the mount namespace of a container that is just being taken down.
        """
        for _ in range(_LOOKS):
            if not self._devices(place):
                return True
            time.sleep(_BETWEEN_LOOKS)
        return False

    def _furnish(self, place: Place, spec: Spec) -> None:
        """Make the exposed folder in a new filesystem, with the owner and mode asked for."""
        with self._mounted_privately(place, ()):
            data = place.mountpoint / DATA
            # A subvolume can be snapshotted, and its siblings stay out of containers' sight.
            if spec.fs is Filesystem.BTRFS:
                btrfs.create_subvolume(data)
            else:
                data.mkdir()
            os.chown(data, spec.uid or 0, spec.gid or 0)
            data.chmod(0o755 if spec.mode is None else spec.mode)
            files.sync_filesystem(data)

    def _look_inside(self, place: Place) -> str:
        """Which folder of an image's filesystem containers should see."""
        with self._mounted_privately(place, ("ro",)):
            ours = {entry.name for entry in place.mountpoint.iterdir()} - {"lost+found"} == {DATA}
            return DATA if ours and (place.mountpoint / DATA).is_dir() else "."

    @contextmanager
    def _mounted_privately(self, place: Place, options: Sequence[str]) -> Iterator[None]:
        mountpoints.make(place.mountpoint)
        try:
            self._mount(place, options)
            try:
                yield
            finally:
                _unmount_private(place.mountpoint)
        finally:
            mountpoints.remove(place.mountpoint)

    def _mount(self, place: Place, options: Sequence[str]) -> None:
        spec = place.spec
        assert spec.fs is not None
        self.check(place)
        with self._device(place) as device:
            if spec.sparse is False:
                loop.forbid_discard(device)
            data = filesystems.mount_data(spec.fs, discard=spec.sparse is not False)
            try:
                mounts.mount(device.path, place.mountpoint, spec.fs, (*ALWAYS_ON, *options, *data))
            except OSError as error:
                raise Corrupt(
                    f"volume {place.name}: its {spec.fs} cannot be mounted ({error.strerror}); "
                    f"look at the kernel's log, free space on the host, or check it: "
                    f"{filesystems.check_command(spec.fs, _image(place))}"
                ) from error

    @contextmanager
    def _device(self, place: Place) -> Iterator[loop.LoopDevice]:
        """Hold the one device of the image open: the one it is live on, or a new one.

        The device outlives the block only if it was mounted inside.
        """
        image = os.open(_image(place), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            device, fd = self._find_or_attach(place, image)
        finally:
            os.close(image)
        try:
            yield device
        finally:
            os.close(fd)

    def _find_or_attach(self, place: Place, image: int) -> tuple[loop.LoopDevice, int]:
        assert place.spec.fs is not None
        block_size = filesystems.sector_size(place.spec.fs, image)
        # A device may detach itself just now, with its last unmount: then there is another look.
        for _ in range(_LOOKS):
            for attached in loop.find(image):
                if not attached.tag.startswith(TAG):
                    raise OperationFailed(
                        f"volume {place.name}: its image is attached to {attached.device.path} by "
                        f"someone else; detach it with `losetup -d {attached.device.path}`"
                    )
                with suppress(FileNotFoundError):
                    return attached.device, loop.reopen(attached.device, image)
            with suppress(BlockingIOError):
                return loop.attach(image, tag=TAG + place.uuid, block_size=block_size)
        raise OperationFailed(f"volume {place.name}: another process has locked its image")


def _image(place: Place) -> Path:
    return place.home / "image"


def _check_whole(place: Place, fs: str) -> None:
    image = _image(place)
    try:
        filesystems.check(fs, image)
    except filesystems.DamagedFilesystem as error:
        raise Corrupt(
            f"volume {place.name}: its image {image} is damaged ({error.strerror}); repair it, "
            f"then look again: {filesystems.check_command(fs, image)}"
        ) from error


def _unmount_private(mountpoint: Path) -> None:
    """Unmount what nobody else knows of, and what is busy for a moment all the same.

    A program that another thread starts has copies of our open files until it is executed.
    """
    for _ in range(_TRIES):
        if mounts.unmount_unless_busy(mountpoint):
            return
        time.sleep(_MOMENT)
    mounts.unmount(mountpoint)


def _known() -> str:
    return ", ".join(Filesystem)
