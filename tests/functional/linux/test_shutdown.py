"""Filesystems that are ended on the spot: what was acknowledged is kept, and nothing comes after.

Only images of the test's own are shut down.
"""

import errno
import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from convoy_py.linux import filesystems, loop, mounts, shutdown

pytestmark = pytest.mark.root

MakeImage = Callable[..., Path]
Mount = Callable[..., loop.LoopDevice]
CHECKS = {"ext4": ["e2fsck", "-f", "-n"], "xfs": ["xfs_repair", "-n"]}
ENOUGH = 50
PATIENCE = 60  # seconds; it bounds a failure

can_be = pytest.mark.parametrize("fs", ["ext4", "xfs"])


class Writer:
    """Writes and syncs one file after another until that fails, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.acknowledged: list[str] = []
        self.failed: int | None = None
        self.enough = threading.Event()
        self._folder = folder
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        try:
            while True:
                name = f"{len(self.acknowledged)}"
                with (self._folder / name).open("xb", buffering=0) as file:
                    file.write(name.encode() * 1000)
                    os.fsync(file.fileno())
                self.acknowledged.append(name)
                if len(self.acknowledged) == ENOUGH:
                    self.enough.set()
        except OSError as error:
            self.failed = error.errno

    def ended(self) -> int | None:
        """With which errno it ended; None if it goes on."""
        self._thread.join(PATIENCE)
        return self.failed


@can_be
def test_what_was_acknowledged_is_kept_and_nothing_comes_after(
    make_image: MakeImage,
    attach_and_mount: Mount,
    detaches: Callable[[loop.LoopDevice], bool],
    scratch: Path,
    fs: str,
) -> None:
    """The image is replayed by whoever mounts it next, and its check finds nothing."""
    image, folder = make_image(fs), scratch / "mounted"
    device = attach_and_mount(fs, image, folder)
    with (folder / "open").open("wb", buffering=0) as held:
        held.write(b"before")
        os.fsync(held.fileno())
        writer = Writer(folder)
        assert writer.enough.wait(PATIENCE)
        # Of ext4 an fsync that is under way meanwhile was seen to succeed, once, and to be lost.
        acknowledged = list(writer.acknowledged)
        shutdown.shut_down(folder)
        assert writer.ended() == errno.EIO
        for late in (
            lambda: held.write(b"late"),
            lambda: os.fsync(held.fileno()),
            (folder / "new").touch,
            (folder / "0").unlink,
        ):
            with pytest.raises(OSError, match="Input/output error"):
                late()
        with suppress(OSError):
            shutdown.shut_down(folder)  # once more does no harm
    found = mounts.find(folder)
    assert found is not None
    assert found.source == str(device.path)
    mounts.unmount(folder)
    assert mounts.find(folder) is None
    assert detaches(device)
    attach_and_mount(fs, image, folder)
    assert (folder / "open").read_bytes() == b"before"
    assert not (folder / "new").exists()
    for name in acknowledged:
        assert (folder / name).read_bytes() == name.encode() * 1000
    mounts.unmount(folder)
    filesystems.check(fs, image)
    subprocess.run([*CHECKS[fs], image], check=True, capture_output=True)


@can_be
def test_what_was_not_synced_is_not_written_out(
    make_image: MakeImage, attach_and_mount: Mount, scratch: Path, fs: str
) -> None:
    """Neither by it nor by the unmount: the device may be another's by now."""
    image, folder = make_image(fs), scratch / "mounted"
    attach_and_mount(fs, image, folder)
    (folder / "unsynced").write_bytes(b"x" * 4096)
    shutdown.shut_down(folder)
    mounts.unmount(folder)
    attach_and_mount(fs, image, folder)
    assert not (folder / "unsynced").exists()


def test_who_holds_it_open_can_shut_it_down_by_that(
    make_image: MakeImage, attach_and_mount: Mount, scratch: Path
) -> None:
    """The path may lead elsewhere by then."""
    folder = scratch / "mounted"
    attach_and_mount("ext4", make_image("ext4"), folder)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        shutdown.shut_down(fd)
    finally:
        os.close(fd)
    with pytest.raises(OSError, match="Input/output error"):
        (folder / "new").touch()


def test_btrfs_is_refused_and_goes_on(
    make_image: MakeImage, attach_and_mount: Mount, scratch: Path
) -> None:
    """By the kernel, in words that say what to do."""
    folder = scratch / "mounted"
    attach_and_mount("btrfs", make_image("btrfs"), folder)
    with pytest.raises(OSError, match="btrfs cannot be shut down by this kernel") as caught:
        shutdown.shut_down(folder)
    assert caught.value.errno == errno.EOPNOTSUPP
    (folder / "new").write_bytes(b"x")


@pytest.mark.parametrize("way", ["below", "bound", "beside"])
def test_a_filesystem_that_is_not_mounted_right_there_is_left_alone(
    make_image: MakeImage, attach_and_mount: Mount, scratch: Path, way: str
) -> None:
    """Where a volume was unmounted lies the host's, which may be in an image, too."""
    host, asked = scratch / "host", scratch / "host/volume"
    attach_and_mount("ext4", make_image("ext4"), host)
    asked.mkdir()
    if way == "bound":
        mounts.bind(asked, asked, ())
    if way == "beside":
        asked = scratch / "tmpfs"
        asked.mkdir()
        mounts.mount("tests", asked, "tmpfs", ())
    with pytest.raises(OSError, match="only the filesystem of an image") as caught:
        shutdown.shut_down(asked)
    assert caught.value.errno == errno.EINVAL
    (host / "new").touch()
