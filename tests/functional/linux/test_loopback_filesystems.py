"""Images on loop devices: made, attached, mounted, written, unmounted, checked."""

import errno
import fcntl
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from convoy_py.linux import files, filesystems, loop, mounts
from tests.harness import eventually

pytestmark = pytest.mark.root

MIB = 1 << 20
_LOOP_CHANGE_FD = 0x4C06
FILESYSTEMS = ("ext4", "xfs", "btrfs")

MakeImage = Callable[..., Path]
AttachAndMount = Callable[..., loop.LoopDevice]
Detaches = Callable[[loop.LoopDevice], bool]


@pytest.mark.parametrize("fs", FILESYSTEMS)
def test_smallest_volume_lives_a_whole_life(
    fs: str,
    scratch: Path,
    make_image: MakeImage,
    attach_and_mount: AttachAndMount,
    detaches: Detaches,
) -> None:
    """Data written to an image of the smallest size is there after it was detached and mounted
    again, the device goes with the last unmount, and the filesystem is clean."""
    image, target = make_image(fs), scratch / "mnt"
    data = os.urandom(5 * MIB)

    device = attach_and_mount(fs, image, target)
    assert loop.is_attached(device)
    (target / "file").write_bytes(data)
    mounts.unmount(target)
    assert detaches(device)
    assert loop.find(image) == []

    device = attach_and_mount(fs, image, target)
    assert (target / "file").read_bytes() == data
    mounts.unmount(target)
    assert detaches(device)
    filesystems.check(fs, image)


@pytest.mark.parametrize("fs", FILESYSTEMS)
def test_mounted_with_what_was_asked(
    fs: str, scratch: Path, make_image: MakeImage, attach_and_mount: AttachAndMount
) -> None:
    """The mount table shows the flags, the filesystem's own options and the device."""
    device = attach_and_mount(fs, make_image(fs), scratch / "mnt")
    found = mounts.find(scratch / "mnt")
    assert found is not None
    assert (found.fstype, found.source) == (fs, str(device.path))
    assert {"nosuid", "nodev"} <= set(found.options)
    assert set(filesystems.mount_data(fs, discard=True)) - set(found.super_options) <= {
        "errors=remount-ro"  # which ext4 does not show, for its superblock says so already
    }


@pytest.mark.parametrize("fs", FILESYSTEMS)
def test_devices_do_direct_io_in_large_blocks(
    fs: str, scratch: Path, make_image: MakeImage, attach_and_mount: AttachAndMount
) -> None:
    """The device bypasses the host's page cache and has blocks of 4096 bytes."""
    image = make_image(fs)
    device = attach_and_mount(fs, image, scratch / "mnt")
    (found,) = loop.find(image)
    assert found.direct_io
    assert found.autoclear
    sysfs = Path(f"/sys/block/loop{device.number}/queue/logical_block_size")
    assert sysfs.read_text() == "4096\n"


@pytest.mark.parametrize("fs", FILESYSTEMS)
def test_damage_is_found(fs: str, make_image: MakeImage) -> None:
    """A check of an image whose metadata was overwritten raises one line that names the image."""
    image = make_image(fs)
    filesystems.check(fs, image)
    with image.open("r+b") as file:
        for start in range(0, 8 * MIB, 4096):
            file.seek(start + 2048 if start else 4096)
            file.write(b"\xa5" * 512)
    with pytest.raises(filesystems.DamagedFilesystem, match=image.name) as caught:
        filesystems.check(fs, image)
    assert "\n" not in str(caught.value)
    assert not re.search(r"e2fsck \d|Pass 1|Phase 1|geometry|\[1/7\]", str(caught.value))


@pytest.mark.parametrize(
    ("argv", "fs", "sector"),
    [
        (("mkfs.ext4", "-q", "-b", "1024"), "ext4", 1024),
        (("mkfs.ext4", "-q", "-b", "4096"), "ext4", 4096),
        (("mkfs.xfs", "-q", "-s", "size=512"), "xfs", 512),
        (("mkfs.xfs", "-q", "-s", "size=4096"), "xfs", 4096),
        (("mkfs.btrfs", "-q"), "btrfs", 4096),
    ],
)
def test_sector_size_is_read(scratch: Path, argv: tuple[str, ...], fs: str, sector: int) -> None:
    """What other people's images need of a device."""
    image = scratch / "image"
    with image.open("w+b") as file:
        file.truncate(filesystems.MINIMUM[fs])
        subprocess.run([*argv, image], check=True)
        assert filesystems.sector_size(fs, file.fileno()) == sector


@pytest.mark.parametrize("fs", FILESYSTEMS)
def test_images_are_recognised(fs: str, scratch: Path, make_image: MakeImage) -> None:
    """Each filesystem is told from the others, and a file of zeros is none."""
    assert filesystems.identify(make_image(fs)) == fs
    (scratch / "zeros").write_bytes(bytes(MIB))
    assert filesystems.identify(scratch / "zeros") is None


def test_too_small_a_size_is_refused_with_the_bounds(scratch: Path) -> None:
    """The error names the smallest size."""
    with pytest.raises(OSError, match=str(filesystems.MINIMUM["xfs"])):
        filesystems.make("xfs", scratch / "none", MIB, uuid=str(uuid4()))


def test_small_ext4_is_not_eaten_by_its_journal(
    scratch: Path, make_image: MakeImage, attach_and_mount: AttachAndMount
) -> None:
    """Users get at least 57 of the 64 MiB of an ext4."""
    attach_and_mount("ext4", make_image("ext4", 64 * MIB), scratch / "mnt")
    assert filesystems.space(scratch / "mnt").available > 57 * MIB


def test_new_ext4_occupies_little_of_the_host(make_image: MakeImage) -> None:
    """A sparse 1 GiB image starts out below 2 MiB on the host."""
    assert make_image("ext4", 1024 * MIB).stat().st_blocks * 512 < 2 * MIB


def test_concurrent_attaches_all_succeed(scratch: Path, tag: str, detaches: Detaches) -> None:
    """64 threads that attach at the same moment get 64 devices."""
    start = threading.Barrier(64)

    def attach(number: int) -> tuple[loop.LoopDevice, int]:
        with (scratch / f"image{number}").open("w+b") as file:
            file.truncate(MIB)
            start.wait()
            return loop.attach(file.fileno(), tag=f"{tag}{number}")

    with ThreadPoolExecutor(64) as pool:
        held = list(pool.map(attach, range(64)))
    try:
        assert len({device.number for device, _ in held}) == 64
        # One that a busy machine lets answer late is not told at once.
        eventually(lambda: len(loop.attached(tag, scratch)) == 64, "all are told")
    finally:
        for _, fd in held:
            os.close(fd)
    assert all(detaches(device) for device, _ in held)
    assert loop.attached(tag, scratch) == []


def test_image_is_found_on_its_device_under_any_name(scratch: Path, tag: str) -> None:
    """A device is found by the image's inode: by a hard link, after a rename; no other image is."""
    image, other = scratch / "image", scratch / "other"
    for path in (image, other):
        path.write_bytes(bytes(MIB))
    with image.open("r+b") as file:
        device, fd = loop.attach(file.fileno(), tag=tag)
    try:
        os.link(image, scratch / "link")
        image.rename(scratch / "renamed")
        for name in ("link", "renamed"):
            assert [a.device for a in loop.find(scratch / name)] == [device]
        assert loop.find(other) == []
    finally:
        os.close(fd)


def test_image_attached_by_others_is_found(scratch: Path, tag: str) -> None:
    """A device that losetup made is found too, without a tag of ours."""
    image = scratch / "image"
    image.write_bytes(bytes(MIB))
    made = subprocess.run(
        ["losetup", "-f", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        (found,) = loop.find(image)
        assert str(found.device.path) == made
        assert not found.autoclear
        assert loop.attached(tag, scratch) == []
    finally:
        loop.detach(found.device)


def test_image_cannot_be_attached_twice(scratch: Path, tag: str, detaches: Detaches) -> None:
    """A second attach is refused while the device lives, also after its maker let go of the file,
    and works once it is gone."""
    image = scratch / "image"
    image.write_bytes(bytes(MIB))
    with image.open("r+b") as file:
        device, fd = loop.attach(file.fileno(), tag=tag)
    with image.open("r+b") as file:
        with pytest.raises(BlockingIOError):
            loop.attach(file.fileno(), tag=tag)
        os.close(fd)
        assert detaches(device)
        _, fd = loop.attach(file.fileno(), tag=tag)
        os.close(fd)


def test_reopened_device_holds_the_image(scratch: Path, tag: str, detaches: Detaches) -> None:
    """A device is reopened for its own image only, and stays attached until both are closed."""
    image, other = scratch / "image", scratch / "other"
    for path in (image, other):
        path.write_bytes(bytes(MIB))
    with image.open("r+b") as file, other.open("r+b") as wrong:
        device, first = loop.attach(file.fileno(), tag=tag)
        second = loop.reopen(device, file.fileno())
        os.close(first)
        assert loop.is_attached(device)
        with pytest.raises(FileNotFoundError):
            loop.reopen(device, wrong.fileno())
        os.close(second)
        assert detaches(device)
        with pytest.raises(FileNotFoundError):
            loop.reopen(device, file.fileno())


def test_device_that_detaches_while_it_is_looked_at_is_not_found(
    scratch: Path, tag: str, monkeypatch: pytest.MonkeyPatch, detaches: Detaches
) -> None:
    """A look holds a device for an instant; if its last user goes just then, it is not there.

    Somebody else's look may hold it as well, but not each time.
    """
    image = scratch / "image"
    image.write_bytes(bytes(MIB))
    look = loop._info

    def found_while_it_detaches() -> list[loop.Attached]:
        with image.open("r+b") as file:
            device, fd = loop.attach(file.fileno(), tag=tag)
        held = {fd}

        def close_meanwhile(looking: int) -> bytes | None:
            info = look(looking)
            if fd in held and os.fstat(looking).st_rdev == os.fstat(fd).st_rdev:
                held.remove(fd)
                os.close(fd)
            return info

        with monkeypatch.context() as patch:
            patch.setattr(loop, "_info", close_meanwhile)
            found = loop.find(image)
        assert held == set()
        assert detaches(device)
        return found

    assert any(found_while_it_detaches() == [] for _ in range(20))


def test_device_that_another_image_got_at_once_is_not_found(
    scratch: Path, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a look and what is told of it a number may change hands."""
    image, other = scratch / "image", scratch / "other"
    for path in (image, other):
        path.write_bytes(bytes(MIB))
    with image.open("rb") as file:
        device, fd = loop.attach(file.fileno(), tag=tag, read_only=True)
    look = loop._info

    def exchanged(looking: int) -> bytes | None:
        info = look(looking)
        if os.fstat(looking).st_rdev == os.fstat(fd).st_rdev:
            with other.open("rb") as file:
                fcntl.ioctl(fd, _LOOP_CHANGE_FD, file.fileno())
        return info

    with open(fd, "rb"):
        with monkeypatch.context() as patch:
            patch.setattr(loop, "_info", exchanged)
            assert loop.find(image) == []
        assert [each.device for each in loop.find(other)] == [device]


def test_image_that_is_renamed_while_it_is_looked_for_is_found(
    scratch: Path, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = scratch / "image"
    image.write_bytes(bytes(MIB))
    with image.open("r+b") as file:
        device, fd = loop.attach(file.fileno(), tag=tag)
    look = loop._info

    def renamed(looking: int) -> bytes | None:
        if image.exists():
            image.rename(scratch / "renamed")
        return look(looking)

    with open(fd, "rb"), monkeypatch.context() as patch:
        patch.setattr(loop, "_info", renamed)
        assert [each.device for each in loop.find(image)] == [device]


def test_detach_waits_for_the_last_user(
    scratch: Path, make_image: MakeImage, attach_and_mount: AttachAndMount, detaches: Detaches
) -> None:
    """Detaching a mounted device succeeds, and the device goes with the mount, not before."""
    device = attach_and_mount("ext4", make_image("ext4"), scratch / "mnt")
    loop.detach(device)
    assert loop.is_attached(device)
    mounts.unmount(scratch / "mnt")
    assert detaches(device)


def test_direct_io_is_given_up_where_the_host_has_none(scratch: Path, tag: str) -> None:
    """An image on a filesystem without direct I/O is attached all the same."""
    (scratch / "ram").mkdir()
    mounts.mount("tmpfs", scratch / "ram", "ramfs", ())
    image = scratch / "ram" / "image"
    image.write_bytes(bytes(MIB))
    with image.open("r+b") as file:
        _, fd = loop.attach(file.fileno(), tag=tag)
    try:
        (found,) = loop.find(image)
        assert not found.direct_io
    finally:
        os.close(fd)


def test_tag_that_does_not_fit_is_refused(scratch: Path) -> None:
    """A tag is never cut, for then the device would not be recognised."""
    with (scratch / "image").open("w+b") as file, pytest.raises(OSError, match="tag"):
        loop.attach(file.fileno(), tag="x" * 64)


@pytest.mark.parametrize("discard", [True, False], ids=["sparse", "reserved"])
@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_deleted_data_is_given_back_only_by_sparse_images(
    fs: str,
    scratch: Path,
    make_image: MakeImage,
    attach_and_mount: AttachAndMount,
    *,
    discard: bool,
) -> None:
    """Where discards are forbidden an image keeps its blocks, even after fstrim."""
    image, target = make_image(fs), scratch / "mnt"
    with image.open("r+b") as file:
        files.allocate(file.fileno(), filesystems.MINIMUM[fs])
    before = image.stat().st_blocks
    attach_and_mount(fs, image, target, discard=discard)
    trimmed = subprocess.run(["fstrim", target], check=False, capture_output=True)
    mounts.unmount(target)
    after = image.stat().st_blocks
    assert (trimmed.returncode == 0) is discard
    assert (after < before) is discard


def test_discard_is_forbidden_where_sys_is_read_only(
    scratch: Path, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container /sys refuses the write, and the device is reached all the same."""
    image = scratch / "image"
    image.write_bytes(bytes(MIB))
    with image.open("r+b") as file:
        device, fd = loop.attach(file.fileno(), tag=tag)
    most = Path(f"/sys/block/loop{device.number}/queue/discard_max_bytes")
    assert most.read_text() != "0\n"

    def refuse(path: Path, data: bytes) -> int:
        raise OSError(errno.EROFS, "read-only", str(path))

    try:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", refuse)
            loop.forbid_discard(device)
        assert most.read_text() == "0\n"
    finally:
        os.close(fd)


@pytest.mark.parametrize("retire", [True, False])
def test_forbidden_discard_does_not_outlive_the_device(
    scratch: Path, tag: str, detaches: Detaches, *, retire: bool
) -> None:
    """The kernel forbids discards to later users of the device too; none of ours gets such a
    device, and nobody does if it is retired."""
    image = scratch / "image"
    image.write_bytes(bytes(MIB))
    for _ in range(2):
        with image.open("r+b") as file:
            device, fd = loop.attach(file.fileno(), tag=tag)
        most = Path(f"/sys/block/loop{device.number}/queue/discard_max_bytes")
        try:
            assert most.read_text() != "0\n"
            loop.forbid_discard(device)
            loop.retire(device)
            assert most.read_text() == "0\n"
        finally:
            os.close(fd)
        assert detaches(device)
        if retire:
            until = time.monotonic() + 10  # another's look may keep it busy for an instant
            while most.exists() and most.read_text() == "0\n":
                loop.retire(device)
                assert time.monotonic() < until


def test_lock_of_an_image_goes_with_its_device(
    scratch: Path, make_image: MakeImage, attach_and_mount: AttachAndMount, detaches: Detaches
) -> None:
    """The device, not a process, holds the image's lock, so it outlives the daemon's end."""
    image = make_image("ext4")
    device = attach_and_mount("ext4", image, scratch / "mnt")
    with image.open("r+b") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mounts.unmount(scratch / "mnt")
        assert detaches(device)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
