"""Filesystems grown and trimmed, as those see it who use them meanwhile."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from convoy_py.linux import files, filesystems, growing, loop, mounts

pytestmark = pytest.mark.root

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40

MakeImage = Callable[..., Path]
AttachAndMount = Callable[..., loop.LoopDevice]
Detaches = Callable[[loop.LoopDevice], bool]


@contextmanager
def writer(folder: Path) -> Iterator[list[bytes]]:
    """Writes and syncs files into a folder while the block runs, at least one more after it.

    Yields the contents of those that are there for good.
    """
    written: list[bytes] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            data = os.urandom(100_000)
            with (folder / f"{len(written)}").open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            written.append(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
        enough = len(written) + 2
        while len(written) < enough and thread.is_alive():
            os.sched_yield()
    finally:
        stop.set()
        thread.join()
    assert len(written) >= enough, "the writer failed"


def reserve(path: Path, size: int) -> None:
    """Occupy so much of a filesystem."""
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_mounted_filesystem_grows_under_a_writer(
    fs: str,
    scratch: Path,
    make_image: MakeImage,
    attach_and_mount: AttachAndMount,
    detaches: Detaches,
) -> None:
    """df shows the new size, more fits than could before, no write is lost, nothing is damaged."""
    before, after = 304 * MIB, 640 * MIB
    image, target = make_image(fs, before), scratch / "mnt"
    device = attach_and_mount(fs, image, target)
    first = filesystems.space(target).size
    with writer(target) as written:
        os.truncate(image, after)
        loop.set_capacity(device)
        assert filesystems.space(target).size == first
        growing.grow_online(fs, target)
        assert filesystems.space(target).size == first + after - before
        reserve(target / "large", before)
    growing.grow_online(fs, target)
    assert filesystems.space(target).size == first + after - before
    mounts.unmount(target)
    assert detaches(device)
    filesystems.check(fs, image)
    attach_and_mount(fs, image, target)
    assert [(target / f"{n}").read_bytes() for n in range(len(written))] == written


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_growth_of_a_mounted_filesystem_is_on_the_disk(
    fs: str, scratch: Path, make_image: MakeImage, attach_and_mount: AttachAndMount
) -> None:
    """Were the power cut right after it, the filesystem would have the new size."""
    image, target = make_image(fs, 304 * MIB), scratch / "mnt"
    device = attach_and_mount(fs, image, target)
    os.truncate(image, 640 * MIB)
    loop.set_capacity(device)
    growing.grow_online(fs, target)
    subprocess.run(["cp", "--sparse=always", image, scratch / "cut"], check=True)
    size = filesystems.space(target).size
    mounts.unmount(target)
    attach_and_mount(fs, scratch / "cut", target)
    assert filesystems.space(target).size == size


def test_too_small_a_growth_of_btrfs_is_refused_in_words(
    scratch: Path, make_image: MakeImage, attach_and_mount: AttachAndMount
) -> None:
    """The kernel knows no btrfs that was grown below 256 MiB; one that fills its device is fine."""
    image, target = make_image("btrfs", 128 * MIB), scratch / "mnt"
    device = attach_and_mount("btrfs", image, target)
    growing.grow_online("btrfs", target)
    os.truncate(image, 200 * MIB)
    loop.set_capacity(device)
    with pytest.raises(OSError, match=f"grows to {256 * MIB} bytes or more"):
        growing.grow_online("btrfs", target)


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_how_far_a_filesystem_will_grow_is_known_before_it_is_made(
    fs: str, make_image: MakeImage
) -> None:
    """Exactly, but where mke2fs rounds a step down."""
    sizes = [300 * MIB, 511 * MIB, 513 * MIB, 777 * MIB, GIB, 7 * GIB, 9 * GIB, 17 * GIB]
    for size in sizes:
        found, told = growing.bounds(fs, make_image(fs, size))[1], growing.reach(fs, size)
        assert found <= told <= found + (8 * GIB if fs == "ext4" else 0)


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
@pytest.mark.parametrize("most", [GIB, 301 * GIB, 5000 * GIB, 8 * TIB, 9 * TIB - 4096, 15 * TIB])
def test_with_which_size_to_begin(fs: str, most: int, make_image: MakeImage) -> None:
    """So that it can grow as far as is wished, and not much larger than it must be."""
    first = growing.beginning(fs, most)
    assert growing.bounds(fs, make_image(fs, first))[1] >= most
    assert first <= max(filesystems.MINIMUM[fs], most / 1024 + 8 * MIB, most - 8 * TIB + 16 * GIB)


@pytest.mark.parametrize(
    ("fs", "first", "smallest", "largest"),
    [
        ("ext4", 64 * MIB, 16 * MIB, 64 * GIB),
        ("xfs", 400 * MIB, 300 * MIB, 400 * GIB),
        ("btrfs", 128 * MIB, 256 * MIB, 16 * 1024 * GIB - 4096),
    ],
)
def test_bounds_of_growth(
    fs: str, first: int, smallest: int, largest: int, make_image: MakeImage
) -> None:
    """They follow from the first size, however large the filesystem has become."""
    image = make_image(fs, first)
    assert growing.bounds(fs, image) == (smallest, largest)
    os.truncate(image, GIB)
    growing.grow_offline(fs, image)
    assert growing.bounds(fs, image) == (smallest, largest)


def test_mounted_ext4_grows_or_says_what_is_missing(
    scratch: Path, make_image: MakeImage, attach_and_mount: AttachAndMount
) -> None:
    """With the capability it grows; without it nothing is tried and the reason names it."""
    image, target = make_image("ext4", 64 * MIB), scratch / "mnt"
    device = attach_and_mount("ext4", image, target)
    before = filesystems.space(target).size
    os.truncate(image, 256 * MIB)
    loop.set_capacity(device)
    if growing.can_grow_online("ext4") is None:
        growing.grow_online("ext4", target)
        assert filesystems.space(target).size > before + 180 * MIB
    else:
        with pytest.raises(PermissionError, match="CAP_SYS_RESOURCE"):
            growing.grow_online("ext4", target)
        assert filesystems.space(target).size == before


@pytest.mark.parametrize(("fs", "told"), [("ext4", "CAP_SYS_RESOURCE"), ("xfs", "None")])
def test_capability_of_this_process_decides(fs: str, told: str) -> None:
    """A process that was started without CAP_SYS_RESOURCE may grow a mounted xfs, no ext4."""
    code = f"from convoy_py.linux import growing; print(growing.can_grow_online({fs!r}))"
    without = ["setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource"]
    argv = [*without, sys.executable, "-c", code]
    out = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=Path.cwd()).stdout
    assert told in out


@pytest.fixture
def full(
    scratch: Path,
    make_image: MakeImage,
    attach_and_mount: AttachAndMount,
    detaches: Detaches,
) -> Path:
    """An ext4 of 16 MiB without a free block."""
    image = make_image("ext4", 16 * MIB)
    device = attach_and_mount("ext4", image, scratch / "full")
    with pytest.raises(OSError, match="No space"):  # noqa: PT012 - which one it is does not matter
        for number in range(1000):
            (scratch / "full" / f"{number}").write_bytes(pattern(number))
    mounts.unmount(scratch / "full")
    assert detaches(device)
    return image


def pattern(number: int) -> bytes:
    """What is in one of the files that fill a filesystem."""
    return number.to_bytes(4, "little") * 75_000


def assert_grown(image: Path, size: int, scratch: Path, attach_and_mount: AttachAndMount) -> None:
    """The filesystem has its size, is clean, and each file has what was written into it."""
    assert image.stat().st_size == size
    filesystems.check("ext4", image)
    attach_and_mount("ext4", image, scratch / "grown")
    assert filesystems.space(scratch / "grown").size > size * 0.7
    found = sorted(int(f.name) for f in (scratch / "grown").iterdir() if f.is_file())
    # The last one was cut short when there was no more space.
    assert found[:-1] == list(range(len(found) - 1))
    assert len(found) > 30
    for number in found[:-1]:
        assert (scratch / "grown" / f"{number}").read_bytes() == pattern(number)
    mounts.unmount(scratch / "grown")
    with image.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # once the device has let go of it


@pytest.mark.parametrize("size", [64 * MIB, 16 * GIB])
def test_image_of_ext4_grows(
    size: int, full: Path, scratch: Path, attach_and_mount: AttachAndMount
) -> None:
    """A full one grows to what its file has become, up to 1024 times its size; twice is once."""
    os.truncate(full, size)
    for _ in range(2):
        assert growing.grow_offline("ext4", full)
        assert_grown(full, size, scratch, attach_and_mount)


def interrupted(image: Path, call: str, number: int) -> bool:
    """Have resize2fs killed before its nth call of a kind; whether it made so many."""
    fault = f"inject={call}:signal=SIGKILL:when={number}"
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", fault]
    subprocess.run(["e2fsck", "-f", "-p", image], check=False, capture_output=True)
    ended = subprocess.run([*strace, "resize2fs", image], check=False, capture_output=True)
    return ended.returncode != 0


@pytest.mark.parametrize("call", ["pwrite64", "write"])
def test_image_of_ext4_grows_when_resize2fs_was_killed_at_any_write(
    call: str, full: Path, scratch: Path, attach_and_mount: AttachAndMount
) -> None:
    """Wherever it was killed, the repeated growth ends with every file in a clean filesystem."""
    image, number = scratch / "killed", 0
    while True:
        number += 1
        shutil.copyfile(full, image)
        os.truncate(image, GIB)
        killed = interrupted(image, call, number)
        assert growing.grow_offline("ext4", image)
        assert_grown(image, GIB, scratch, attach_and_mount)
        if not killed:
            break
    assert number > 5


def test_growth_that_resize2fs_would_lose_files_in_is_refused(
    full: Path, scratch: Path, attach_and_mount: AttachAndMount
) -> None:
    """Beyond the room for descriptors nothing is done, and the filesystem stays as it was."""
    assert growing.bounds("ext4", full)[1] == 16 * GIB
    os.truncate(full, 16 * GIB + 4096)
    with pytest.raises(OSError, match=f"can grow to {16 * GIB} bytes") as caught:
        growing.grow_offline("ext4", full)
    assert caught.value.errno == errno.EFBIG
    os.truncate(full, 16 * MIB)
    assert_grown(full, 16 * MIB, scratch, attach_and_mount)


def test_ext4_that_resize2fs_would_damage_is_not_grown(scratch: Path) -> None:
    """One that somebody made with backups of its superblock in two places of his choice."""
    image = scratch / "image"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    argv = ["mkfs.ext4", "-q", "-b", "4096", "-O", "sparse_super2", str(image)]
    subprocess.run(argv, check=True)
    assert growing.bounds("ext4", image)[1] == 64 * MIB
    os.truncate(image, 128 * MIB)
    with pytest.raises(OSError, match=f"can grow to {64 * MIB} bytes"):
        growing.grow_offline("ext4", image)


def test_damage_of_another_origin_is_left_to_people(full: Path) -> None:
    """What the kernel has found damaged is not mended as an interrupted growth is, which would
    throw away what it cannot make sense of."""
    with full.open("r+b") as file:
        superblock = bytearray(os.pread(file.fileno(), 1024, 1024))
        superblock[0x3A] |= 2  # errors were found
        superblock[0x194] = 1  # so many
        superblock[1020:] = growing._crc32c(bytes(superblock[:1020])).to_bytes(4, "little")
        os.pwrite(file.fileno(), superblock, 1024)
        found = subprocess.run(
            ["debugfs", "-R", "stat <2>", full], check=True, capture_output=True, text=True
        ).stdout
        block = int(found.partition("(0):")[2].split()[0].strip(","))
        os.pwrite(file.fileno(), b"\xa5" * 4096, block * 4096)  # the root folder's names
    os.truncate(full, GIB)
    with pytest.raises(filesystems.DamagedFilesystem):
        growing.grow_offline("ext4", full)


def test_image_that_was_cut_is_not_shrunk(full: Path) -> None:
    """A file shorter than its filesystem is damage, not a size to bring the filesystem to."""
    os.truncate(full, 15 * MIB)
    with pytest.raises(filesystems.DamagedFilesystem, match="was cut"):
        growing.grow_offline("ext4", full)


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_others_must_be_mounted_to_grow(fs: str, make_image: MakeImage) -> None:
    """Their images are left alone, which the answer says."""
    image = make_image(fs)
    os.truncate(image, GIB)
    before = image.stat().st_blocks
    assert not growing.grow_offline(fs, image)
    assert image.stat().st_blocks == before


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_trim_gives_blocks_back_that_nodiscard_kept(
    fs: str, scratch: Path, tag: str, make_image: MakeImage
) -> None:
    """The image of a filesystem that is mounted with nodiscard keeps what was deleted until it is
    trimmed, and the number of bytes is told."""
    image, target = make_image(fs, 400 * MIB), scratch / "mnt"
    target.mkdir()
    with image.open("r+b") as file:
        device, fd = loop.attach(file.fileno(), tag=tag)
    with open(fd, "rb"):
        mounts.mount(device.path, target, fs, filesystems.mount_data(fs, discard=False))
    (target / "file").write_bytes(os.urandom(64 * MIB))
    files.sync_filesystem(target)
    full = image.stat().st_blocks * 512
    (target / "file").unlink()
    files.sync_filesystem(target)
    assert image.stat().st_blocks * 512 > full - 4 * MIB
    assert growing.trim(target) > 60 * MIB
    while fs == "xfs" and image.stat().st_blocks * 512 > full - 60 * MIB:
        growing.trim(target)  # it frees in the background, a moment later
    assert image.stat().st_blocks * 512 < full - 60 * MIB


def test_trim_is_refused_where_discards_are_forbidden(
    scratch: Path, make_image: MakeImage, attach_and_mount: AttachAndMount
) -> None:
    """A reserved image keeps its blocks, which is an error to trim, not a zero."""
    attach_and_mount("ext4", make_image("ext4"), scratch / "mnt", discard=False)
    with pytest.raises(OSError, match="not supported"):
        growing.trim(scratch / "mnt")
