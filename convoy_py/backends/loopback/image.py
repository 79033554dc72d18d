"""One image: its device, its mounts, and which of them belong to a volume and which to a snapshot.

One image, one device: whoever attaches an image that is live on another device corrupts it, so an
image is always looked up among the attached ones first, by inode. A device of ours is known by its
tag. It detaches itself with the last unmount, wherever that happens.

A snapshot of an ext4 or xfs volume is an image of its own. One of a btrfs volume lies inside that
volume's image: both are mounts of one device then, told apart by the folder that each shows.
"""

import errno
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from convoy_py.backends import mountpoints
from convoy_py.backends.base import Place
from convoy_py.backends.common import foreign_mount
from convoy_py.errors import Corrupt, NoSpace, OperationFailed
from convoy_py.linux import files, filesystems, loop, mounts
from convoy_py.linux.descriptors import closing, opened
from convoy_py.linux.holders import Census, Holder
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.mount_options import ALWAYS_ON
from convoy_py.models.volume import Spec

TAG = "convoy:"
IMAGE = "image"  # in a home
DATA = "data"  # in an image
SNAPSHOTS = "snapshots"  # beside DATA, in a btrfs image

# With less the host has no room for what a mount writes into an image.
_FULL = 8 << 20

_LOOKS = 20
_BETWEEN_LOOKS = 0.002  # seconds


def _around(place: Place) -> Place | None:
    """The volume in whose image it lies, a snapshot; None of all else."""
    return place.within if place.spec.fs is Filesystem.BTRFS else None


def is_inside(place: Place) -> bool:
    """Whether it is a snapshot that lies in its volume's image."""
    return _around(place) is not None


def is_read_only(place: Place) -> bool:
    """Whether nobody writes to the image: it is a snapshot's own."""
    return place.within is not None and not is_inside(place)


def owner(place: Place) -> Place:
    """The place in whose home the image lies: of a snapshot inside, its volume's."""
    return _around(place) or place


def path(place: Place) -> Path:
    return owner(place).held_as(IMAGE)


def form(spec: Spec) -> tuple[Filesystem, int]:
    """The filesystem of an image and its size in bytes, which the specs of all images have."""
    assert spec.fs is not None
    assert spec.size is not None
    return spec.fs, spec.size


def check(place: Place) -> None:
    """Raise Corrupt if the image is missing or was cut; one that is to grow may have begun to."""
    image, spec = path(place), owner(place).spec
    try:
        found = image.stat().st_size
    except FileNotFoundError:
        raise Corrupt(f"{place}: its image {image} is missing") from None
    _, size = form(spec)
    if not (spec.grows_from or size) <= found <= size:
        raise Corrupt(
            f"{place}: its image {image} has {found} bytes, recorded are {size}; "
            "it was cut or changed from outside"
        )


# Mounts


def is_mounted(place: Place) -> bool:
    mount = mounts.find(place.mountpoint)
    if mount is None:
        return False
    if not _is_on(place, mount.source) or mount.root != _shown(place):
        raise foreign_mount(place)
    return True


def _is_on(place: Place, source: str) -> bool:
    """Whether what is mounted from `source` is the place's image; asks that device and no other."""
    attached = loop.look(source)
    if attached is None:
        return False
    try:
        image = path(place).stat()
    except FileNotFoundError:  # deleted while it was mounted
        uuid = owner(place).uuid
        return bool(uuid) and attached.tag.startswith(TAG + uuid)
    return (attached.file_device, attached.inode) == (image.st_dev, image.st_ino)


class _AwaitsReplay(Exception):
    """A snapshot's journal was not replayed when it was taken."""


def mount(place: Place, mountpoint: Path, options: Iterable[str]) -> None:
    """Mount the image, or the snapshot inside it; a snapshot never otherwise than read-only."""
    chosen = tuple(options)
    try:
        _mount(place, mountpoint, chosen)
    except _AwaitsReplay as error:
        # The image of a volume that another host had mounted to the last: it is replayed once.
        with privately(replace(place, within=None)):
            pass
        try:
            _mount(place, mountpoint, chosen)
        except _AwaitsReplay:
            raise Corrupt(f"{place}: its journal awaits a replay ({error})") from error


def _mount(place: Place, mountpoint: Path, options: Sequence[str]) -> None:
    spec = owner(place).spec
    fs, _ = form(spec)
    check(place)
    chosen = [*options, *filesystems.mount_data(fs, discard=spec.sparse is not False)]
    if place.within is not None:
        chosen.append("ro")
    if is_inside(place):
        chosen.append(f"subvol={_shown(place)}")
    with _device(place) as device:
        if spec.sparse is False and not is_read_only(place):
            loop.forbid_discard(device)
        try:
            mounts.mount(device.path, mountpoint, fs, chosen)
        except OSError as error:
            if error.errno == errno.EROFS and is_read_only(place):
                raise _AwaitsReplay(error.strerror) from error
            refused = f"{place}: its {fs} cannot be mounted ({error.strerror}); "
            check_it = f"check it: {filesystems.check_command(fs, path(place))}"
            # A journal is written to, and the blocks for it may be missing.
            if error.errno == errno.EIO and not files.has_room(owner(place).home, _FULL):
                raise NoSpace(
                    f"{refused}the host is full: make room there, or {check_it}"
                ) from error
            raise Corrupt(f"{refused}look at the kernel's log, or {check_it}") from error


@contextmanager
def privately(place: Place, *options: str) -> Iterator[Path]:
    """Where it is mounted, for nobody else to see, while the block runs."""
    with mountpoints.private(place.mountpoint) as mountpoint:
        mount(place, mountpoint, (*ALWAYS_ON, *options))
        yield mountpoint


def holders(place: Place, census: Census) -> list[Holder]:
    return [
        holder
        for attached in devices(place)
        for holder in census.of_device(
            attached.device.path, place.mountpoint, lambda root: _shows(place, root)
        )
    ]


def _shown(place: Place) -> str:
    """The folder of the filesystem that is mounted for it, as mountinfo has it."""
    return f"/{SNAPSHOTS}/{place.uuid}" if is_inside(place) else "/"


def _shows(place: Place, root: PurePosixPath) -> bool:
    """Whether a mount of this folder of the filesystem shows what belongs to the place."""
    if is_inside(place):
        return root.is_relative_to(_shown(place))
    # Only in a btrfs image of ours can others than the volume's lie there.
    return place.spec.fs is not Filesystem.BTRFS or not root.is_relative_to(f"/{SNAPSHOTS}")


# Devices


def devices(place: Place) -> list[loop.Attached]:
    """Every loop device, ours or not, on which the image is live."""
    try:
        return loop.find(path(place))
    except FileNotFoundError:
        # Deleted while it was mounted; a home that a crash left half made has no uuid.
        uuid = owner(place).uuid
        return loop.attached(TAG + uuid, path(place)) if uuid else []


def is_let_go(place: Place) -> bool:
    """Whether no device has the image any more, or only for others than this place.

    Whoever looks at a device, as udev and our own threads do, keeps it attached for that
    moment, and so does the mount namespace of a container that is just being taken down.
    """
    for _ in range(_LOOKS):
        found = devices(place)
        if not found:
            return True
        if any(_mounts_here(attached) for attached in found):
            break  # a volume and its snapshots inside keep it for each other
        time.sleep(_BETWEEN_LOOKS)
    return _is_others(place, devices(place))


def _is_others(place: Place, found: Sequence[loop.Attached]) -> bool:
    """Whether mounts of other parts of a btrfs image account for its devices."""
    if place.spec.fs is not Filesystem.BTRFS:
        return not found
    census = Census.take()
    return not holders(place, census) and all(
        census.of_device(attached.device.path, place.mountpoint) for attached in found
    )


def live_at(place: Place) -> Path | None:
    """Where, to our eyes, the image's filesystem is mounted, by whichever part of it."""
    found = [at for attached in devices(place) for at in _mounts_here(attached)]
    return found[0] if found else None


def _mounts_here(attached: loop.Attached) -> list[Path]:
    source = str(attached.device.path)
    found = mounts.lines_with(mounts.read(), f" {source} ".encode())
    return [Path(mount.mountpoint) for mount in found if mount.source == source]


@contextmanager
def _device(place: Place) -> Iterator[loop.LoopDevice]:
    """Hold the one device of the image open: the one it is live on, or a new one.

    The device outlives the block only if it was mounted inside.
    """
    access = os.O_RDONLY if is_read_only(place) else os.O_RDWR
    with opened(path(place), access | os.O_NOFOLLOW) as image:
        device, fd = _find_or_attach(place, image)
    with closing(fd):
        yield device


def _find_or_attach(place: Place, image: int) -> tuple[loop.LoopDevice, int]:
    kept, read_only = owner(place), is_read_only(place)
    fs, _ = form(kept.spec)
    block_size = filesystems.sector_size(fs, image)
    # A device may detach itself just now, with its last unmount: then there is another look.
    for _ in range(_LOOKS):
        for attached in loop.find(image):
            if not attached.tag.startswith(TAG):
                raise OperationFailed(
                    f"{place}: its image is attached to {attached.device.path} by "
                    f"someone else; detach it with `losetup -d {attached.device.path}`"
                )
            with suppress(FileNotFoundError):
                return attached.device, loop.reopen(attached.device, image, read_only=read_only)
        with suppress(BlockingIOError):
            return loop.attach(
                image, tag=TAG + kept.uuid, block_size=block_size, read_only=read_only
            )
    raise OperationFailed(f"{place}: another process has locked its image")
