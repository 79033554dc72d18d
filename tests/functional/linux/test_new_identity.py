"""Clones of images mounted beside their originals, with what was in them at that moment."""

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from convoy_py.linux import filesystems, freeze, loop, mounts, reflink

pytestmark = pytest.mark.root

MIB = 1 << 20
FILESYSTEMS = ("ext4", "xfs", "btrfs")

AttachAndMount = Callable[..., loop.LoopDevice]
Detaches = Callable[[loop.LoopDevice], bool]


@pytest.fixture
def image(request: pytest.FixtureRequest, scratch: Path, attach_and_mount: AttachAndMount) -> Path:
    """An image mounted at `live`, on a host with reflinks, some of its files only just synced."""
    fs: str = request.param
    host, live = scratch / "host", scratch / "live"
    with (scratch / "host.img").open("wb") as file:
        file.truncate(640 * MIB)
    filesystems.make("xfs", scratch / "host.img", 640 * MIB, uuid=str(uuid4()))
    attach_and_mount("xfs", scratch / "host.img", host)
    image = host / "image"
    with image.open("wb") as file:
        file.truncate(304 * MIB)
    filesystems.make(fs, image, 304 * MIB, uuid=str(uuid4()))
    attach_and_mount(fs, image, live)
    for number in range(20):
        synced(live / f"{number}", number)
    return image


def synced(path: Path, number: int) -> None:
    """Write a file that must not be lost from here on."""
    with path.open("wb") as file:
        file.write(number.to_bytes(4, "little") * 10_000)
        file.flush()
        os.fsync(file.fileno())


def assert_all_there(folder: Path) -> None:
    """Each file that was synced is whole, and nothing else is there."""
    assert {p.name for p in folder.iterdir()} - {"lost+found"} == {str(n) for n in range(20)}
    for number in range(20):
        assert (folder / f"{number}").read_bytes() == number.to_bytes(4, "little") * 10_000


def cloned(image: Path) -> Path:
    """A clone of an image in no time."""
    clone = image.with_name(f"clone-{uuid4().hex[:6]}")
    with image.open("rb") as source, clone.open("w+b") as target:
        reflink.clone(source.fileno(), target.fileno())
    return clone


def await_release(image: Path) -> None:
    """Wait until no device holds an image any more, nor its lock, which goes last."""
    with image.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def frozen(folder: Path) -> Iterator[None]:
    """Keep writers out."""
    freeze.freeze(folder)
    try:
        yield
    finally:
        freeze.thaw(folder)


def each_filesystem(*only: str) -> pytest.MarkDecorator:
    """Run a test on an image of each filesystem."""
    params = [(fs, fs) for fs in only or FILESYSTEMS]
    return pytest.mark.parametrize(("fs", "image"), params, ids=only, indirect=["image"])


@each_filesystem(*FILESYSTEMS)
def test_frozen_clone_is_mounted_beside_its_original(
    fs: str, image: Path, scratch: Path, attach_and_mount: AttachAndMount, detaches: Detaches
) -> None:
    """With all that was synced; neither sees the other's changes; both stay without damage."""
    live, beside = scratch / "live", scratch / "beside"
    with (live / "deleted").open("wb") as file:
        file.write(b"x" * MIB)
        os.unlink(live / "deleted")
        with frozen(live):
            clone = cloned(image)
    filesystems.new_identity(fs, clone, str(uuid4()))
    device = attach_and_mount(fs, clone, beside)
    assert_all_there(beside)
    synced(live / "of the original", 1)
    synced(beside / "of the clone", 2)
    assert not (beside / "of the original").exists()
    assert not (live / "of the clone").exists()
    mounts.unmount(beside)
    assert detaches(device)
    filesystems.check(fs, clone)
    (live / "of the original").unlink()
    assert_all_there(live)


@each_filesystem(*FILESYSTEMS)
def test_clone_of_a_clone_is_mounted_beside_both(
    fs: str, image: Path, scratch: Path, attach_and_mount: AttachAndMount
) -> None:
    """Three at once: a volume, its snapshot, and what was made from that."""
    with frozen(scratch / "live"):
        first = cloned(image)
    filesystems.new_identity(fs, first, str(uuid4()))
    attach_and_mount(fs, first, scratch / "first")
    with frozen(scratch / "first"):
        second = cloned(first)
    filesystems.new_identity(fs, second, str(uuid4()))
    attach_and_mount(fs, second, scratch / "second")
    for name in ("live", "first", "second"):
        assert_all_there(scratch / name)


@each_filesystem("btrfs")
def test_identity_of_btrfs_is_the_one_given(
    fs: str, image: Path, scratch: Path, attach_and_mount: AttachAndMount
) -> None:
    """What the kernel tells filesystems apart by, not a name that it invents for the moment."""
    uuid = uuid4()
    with frozen(scratch / "live"):
        clone = cloned(image)
    filesystems.new_identity(fs, clone, str(uuid))
    attach_and_mount(fs, clone, scratch / "beside")
    argv = ["btrfs", "filesystem", "show", str(scratch / "beside")]
    shown = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert UUID(shown.partition("uuid: ")[2].split()[0]) == uuid


@each_filesystem("btrfs")
def test_btrfs_that_awaits_replay_keeps_its_log(
    fs: str, image: Path, scratch: Path, attach_and_mount: AttachAndMount
) -> None:
    """A new identity would make it unmountable: refused, and nothing is lost."""
    synced(scratch / "live" / "0", 0)
    clone = cloned(image)
    with pytest.raises(OSError, match="mount the original once"):
        filesystems.new_identity(fs, clone, str(uuid4()))
    mounts.unmount(scratch / "live")
    attach_and_mount(fs, clone, scratch / "live")
    assert_all_there(scratch / "live")


@each_filesystem("ext4", "xfs")
def test_log_of_a_clone_is_replayed_by_a_mount_that_may_write(
    fs: str, image: Path, scratch: Path, tag: str, attach_and_mount: AttachAndMount
) -> None:
    """Cloned without a freeze, it refuses a read-only device until then, and mounts there after."""
    beside = scratch / "beside"
    beside.mkdir()
    clone = cloned(image)

    def mount_read_only() -> None:
        with clone.open("rb") as file:
            device, fd = loop.attach(file.fileno(), tag=tag, read_only=True)
        with open(fd, "rb"):
            data = filesystems.mount_data(fs, discard=False)
            mounts.mount(device.path, beside, fs, ("ro", *data))

    with pytest.raises(OSError, match="Read-only"):
        mount_read_only()
    await_release(clone)
    attach_and_mount(fs, clone, beside)
    mounts.unmount(beside)
    await_release(clone)
    mount_read_only()
    assert_all_there(beside)
