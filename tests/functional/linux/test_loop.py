"""Loop devices that refuse writes, and that grow with their files."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.linux import filesystems, loop, mounts

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_read_only_device_refuses_writes(mode: str, scratch: Path, tag: str) -> None:
    """Whoever opens it; the image need not be open for writing; it is told from other devices."""
    image = scratch / "image"
    image.write_bytes(b"x" * MIB)
    with image.open(mode) as file:
        device, fd = loop.attach(file.fileno(), tag=tag, read_only=True)
        again = loop.reopen(device, file.fileno(), read_only=True)
    try:
        (found,) = loop.find(image)
        assert found.read_only
        assert found.direct_io
        for opened in (fd, again):
            assert os.pread(opened, 4096, 0) == b"x" * 4096
        with pytest.raises(PermissionError), device.path.open("r+b", buffering=0) as anyone:
            anyone.write(b"y" * 4096)
    finally:
        os.close(fd)
        os.close(again)
    assert image.read_bytes() == b"x" * MIB


def test_writable_device_is_told_from_read_only_ones(scratch: Path, tag: str) -> None:
    """As what is attached without a word."""
    (scratch / "image").write_bytes(bytes(MIB))
    with (scratch / "image").open("r+b") as file:
        _, fd = loop.attach(file.fileno(), tag=tag)
    try:
        assert not loop.find(scratch / "image")[0].read_only
        os.pwrite(fd, b"y" * 4096, 0)
    finally:
        os.close(fd)


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_image_that_was_unmounted_mounts_from_a_read_only_device(
    fs: str,
    scratch: Path,
    tag: str,
    make_image: Callable[..., Path],
    attach_and_mount: Callable[..., loop.LoopDevice],
    detaches: Callable[[loop.LoopDevice], bool],
) -> None:
    """Its files can be read, nothing written, and not a byte of the image changes."""
    image, target = make_image(fs), scratch / "mnt"
    device = attach_and_mount(fs, image, target)
    (target / "file").write_bytes(b"x")
    mounts.unmount(target)
    assert detaches(device)
    before = image.read_bytes()
    with image.open("rb") as file:
        device, fd = loop.attach(file.fileno(), tag=tag, read_only=True)
    with open(fd, "rb"):
        data = filesystems.mount_data(fs, discard=False)
        with pytest.raises(OSError, match=r"Read-only|denied"):
            mounts.mount(device.path, target, fs, data)
        mounts.mount(device.path, target, fs, ("ro", *data))
    assert (target / "file").read_bytes() == b"x"
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()
    mounts.unmount(target)
    assert detaches(device)
    assert image.read_bytes() == before


def test_device_grows_with_its_file(scratch: Path, tag: str) -> None:
    """Not by itself, but when it is told; what was written beyond is in the file."""
    image = scratch / "image"
    image.write_bytes(bytes(MIB))
    with image.open("r+b") as file:
        device, fd = loop.attach(file.fileno(), tag=tag)
    try:
        os.truncate(image, 3 * MIB)
        assert os.lseek(fd, 0, os.SEEK_END) == MIB
        loop.set_capacity(device)
        assert os.lseek(fd, 0, os.SEEK_END) == 3 * MIB
        os.pwrite(fd, b"z" * 4096, 2 * MIB)
        os.fsync(fd)
    finally:
        os.close(fd)
    assert image.read_bytes()[2 * MIB : 2 * MIB + 4096] == b"z" * 4096


def test_lock_is_held_by_a_read_only_device_too(scratch: Path, tag: str) -> None:
    """No second device, writable or not, gets the image meanwhile."""
    (scratch / "image").write_bytes(bytes(MIB))
    with (scratch / "image").open("rb") as file:
        _, fd = loop.attach(file.fileno(), tag=tag, read_only=True)
    try:
        with (scratch / "image").open("r+b") as file:
            with pytest.raises(BlockingIOError):
                loop.attach(file.fileno(), tag=tag)
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(fd)
