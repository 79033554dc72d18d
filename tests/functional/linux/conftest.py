"""A folder to work in, image files, and the certainty that no mount or loop device is left."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from convoy_py.linux import filesystems, loop, mounts
from tests.functional.linux.snapshotted import MakeVolume, Volume, run

MIB = 1 << 20
FILESYSTEMS = ("ext4", "xfs", "btrfs")


@pytest.fixture
def tag() -> str:
    """Marks the loop devices of one test."""
    return f"test-{uuid4().hex[:12]}:"


@pytest.fixture
def scratch(tmp_path: Path, tag: str) -> Iterator[Path]:
    """A folder below which nothing stays mounted, and nothing of which stays attached."""
    yield tmp_path
    for mount in reversed(mounts.below(tmp_path)):
        subprocess.run(["umount", "-l", mount.mountpoint], check=False)
    for attached in loop.attached(tag, tmp_path):
        loop.detach(attached.device)


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """Ends, with the test, the processes that were started through it."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make_image(scratch: Path) -> Callable[..., Path]:
    """Makes a filesystem image of the smallest size, or of the size given."""

    def make(fs: str, size: int | None = None) -> Path:
        image = scratch / f"image-{uuid4().hex[:6]}"
        size = filesystems.MINIMUM[fs] if size is None else size
        with image.open("wb") as file:
            file.truncate(size)
        filesystems.make(fs, image, size, uuid=str(uuid4()))
        return image

    return make


@pytest.fixture
def attach_and_mount(scratch: Path, tag: str) -> Callable[..., loop.LoopDevice]:
    """Attaches an image and mounts it; the device is left to its mount."""

    def mount(fs: str, image: Path, target: Path, *, discard: bool = True) -> loop.LoopDevice:
        target.mkdir(exist_ok=True)
        with image.open("r+b") as file:
            device, fd = loop.attach(file.fileno(), tag=tag)
        with open(fd, "rb"):
            if not discard:
                loop.forbid_discard(device)
            data = filesystems.mount_data(fs, discard=discard)
            mounts.mount(device.path, target, fs, ("nosuid", "nodev", *data))
        return device

    return mount


@pytest.fixture
def make_host(
    scratch: Path, make_image: Callable[..., Path], attach_and_mount: Callable[..., loop.LoopDevice]
) -> Callable[[str], Path]:
    """Makes and mounts a filesystem with some room and returns its folder."""

    def make(fs: str) -> Path:
        folder = scratch / f"{fs}-{uuid4().hex[:6]}"
        attach_and_mount(fs, make_image(fs, 320 * MIB), folder)
        return folder

    return make


@pytest.fixture
def detaches(scratch: Path) -> Callable[[loop.LoopDevice], bool]:
    """Tells whether a device lets go of its file: at once, but for another's look at it.

    udev, and whoever else searches the loop devices, holds each open for an instant. The next who
    wants a device, such as another worker, may have it at once.
    """

    def is_free(device: loop.LoopDevice) -> bool:
        file = loop.backing_file(str(device.path))
        return file is None or not file.startswith(f"{scratch}/")

    def detaches(device: loop.LoopDevice) -> bool:
        until = time.monotonic() + 120
        while not is_free(device) and time.monotonic() < until:
            os.sched_yield()
        return is_free(device)

    return detaches


@pytest.fixture
def in_namespace(processes: ExitStack) -> Callable[[str], int]:
    """Starts a process in a mount namespace of its own that propagates as told; its pid."""

    def start(propagation: str, command: str = "true") -> int:
        child = subprocess.Popen(
            [
                *("unshare", "-m", "--propagation", propagation),
                *("sh", "-c", f"{command} && echo ready && read _"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        processes.callback(child.wait)
        processes.callback(child.kill)
        assert child.stdin is not None
        assert child.stdout is not None
        processes.callback(child.stdout.close)
        processes.callback(child.stdin.close)
        assert child.stdout.readline() == b"ready\n"
        return child.pid

    return start


@pytest.fixture
def shared_folder(scratch: Path) -> Path:
    """A folder of which the mounts reach other namespaces, as those of a daemon should."""
    folder = scratch / "shared"
    folder.mkdir()
    mounts.bind(folder, folder, ())
    # Not as a peer of `/`, where that is shared: each mount would then be made beneath it, too.
    for propagation in ("--make-private", "--make-shared"):
        subprocess.run(["mount", propagation, str(folder)], check=True)
    return folder


@pytest.fixture
def make_volume(
    scratch: Path, make_image: Callable[..., Path], attach_and_mount: Callable[..., object]
) -> Iterator[MakeVolume]:
    """A volume on a host filesystem of some kind, with room for a few copies."""
    hosts = []

    def make(kind: type[Volume], fs: str) -> Volume:
        host = scratch / "host"
        attach_and_mount(fs, make_image(fs, 1200 * MIB), host)
        hosts.append(host)
        return kind(scratch, host)

    yield make
    for host in hosts:
        for mounted in [*host.glob("*/data"), host / "live"]:
            with suppress(subprocess.CalledProcessError):
                run("umount", mounted)
