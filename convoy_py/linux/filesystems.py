"""Filesystems in image files: make, check and recognise them, and how to mount each."""

import errno
import os
import re
import shlex
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from convoy_py.linux import apart, process

BLOCK = 4096
_KIB, _MIB, _GIB, _TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

# ext4: room for a 4 MiB journal, the smallest there is, and some data. XFS: mkfs.xfs refuses less.
# btrfs: mkfs.btrfs needs 109 MiB for two copies of the metadata; the rest is for data.
MINIMUM: Mapping[str, int] = MappingProxyType(
    {"ext4": 16 * _MIB, "xfs": 300 * _MIB, "btrfs": 128 * _MIB}
)
# What a filesystem on ext4 may be, and so an image on an ext4 host: 2^32 blocks of 4 KiB in a file.
MAXIMUM: Mapping[str, int] = MappingProxyType(
    {"ext4": 16 * _TIB - BLOCK, "xfs": 16 * _TIB - BLOCK, "btrfs": 16 * _TIB - BLOCK}
)

_PACKAGE = {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"}
# mkfs of a sparse image takes milliseconds, a check as long as there is metadata to read.
_MAKE_SECONDS, _CHECK_SECONDS = 100.0, 3600.0

# The features of every ext4 since kernel 4.x: whoever built e2fsprogs does not choose them for us.
_EXT4_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
)
_EXT4_JOURNAL = (4 * _MIB, 128 * _MIB)
# Bytes for each inode: at the least, which is what its bitmaps can tell, and by default. Its own
# are 10 that are reserved and lost+found; one more is the folder that we make.
_EXT4_DENSEST, _EXT4_RATIO, _EXT4_OWN = BLOCK, 16384, 12
_EXT4_INODE, _EXT4_GROUP = 256, 8 * BLOCK * BLOCK
_XFS_INODE = 512
_XFS_LOG = (64 * _MIB, 1024 * _MIB)

_MAGIC = (
    ("xfs", 0, b"XFSB"),
    ("ext4", 0x438, b"\x53\xef"),
    ("btrfs", 0x10040, b"_BHRfS_M"),
)
# XFS refuses a second one with the same UUID, such as a volume's snapshot, whose UUID cannot be
# changed before its log was replayed, which takes a mount. What that guards against in other hands,
# one image on two devices, `loop.attach` does here, for every filesystem.
_ALWAYS = {"ext4": ("errors=remount-ro",), "xfs": ("nouuid",)}

# Where a superblock tells it: sb_sectsize, s_log_block_size, sectorsize.
_SECTOR_SIZE = {
    "xfs": (102, struct.Struct(">H")),
    "ext4": (0x418, struct.Struct("<I")),
    "btrfs": (0x10090, struct.Struct("<I")),
}
_SECTOR_SIZES = frozenset(512 << n for n in range(8))

# Where a btrfs tells the root of what was synced since the last commit, 0 if there is none.
_BTRFS_LOG_ROOT = 0x10060

# What the checkers print whether there is damage or not.
_CHATTER = re.compile(
    r"e2fsck \d|e2fsck: aborted|Pass \d|\w+\? no$"
    r"|Phase \d|- |No modify flag set|\.+$"
    r"|Cannot get host filesystem geometry|Repair may fail if|the image and the host"
    r"|\[\d/\d\]|Opening filesystem|Checking filesystem|UUID:"
)
_FINDINGS = 3
# So that no host's mke2fs.conf changes what is made, no e2fsck.conf what is mended.
_NO_CONFIGURATION = {"MKE2FS_CONFIG": "/dev/null", "E2FSCK_CONFIG": "/dev/null"}


class DamagedFilesystem(OSError):
    """A check found what should not be; the message is one line."""

    def __init__(self, image: Path, reason: str) -> None:
        super().__init__(errno.EUCLEAN, reason, str(image))


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes; `available` is what an unprivileged user may still write.

    `inodes` is how many files there can be, or 0 where the filesystem has no such number (btrfs).
    """

    size: int
    used: int
    available: int
    inodes: int = 0
    inodes_free: int = 0


def inode_bounds(fs: str, size: int) -> tuple[int, int] | None:
    """(fewest, most) inodes to which a new filesystem of `size` bytes can be bounded.

    None: it cannot be. Ext4 makes all its inodes at once, blocks full of them in each group. XFS
    makes them as they are needed, of at most so many whole percents of the space.
    """
    if fs == "ext4":
        fewest = -(-size // _EXT4_GROUP) * (BLOCK // _EXT4_INODE) - _EXT4_OWN
        return fewest, size // _EXT4_DENSEST - _EXT4_OWN
    return (size // 100 // _XFS_INODE, size // _XFS_INODE) if fs == "xfs" else None


def make(fs: str, image: Path, size: int, *, uuid: str, inodes: int | None = None) -> None:
    """Make an empty filesystem of `size` bytes in an image file, which is that long and all zero.

    It has room for `inodes` files within `inode_bounds`: on ext4 up to the next block of them in
    each group, on xfs up to the next percent of the space. There are more once it is grown.
    4096-byte sectors and blocks, as our loop devices have. Nothing is discarded, so blocks that
    were reserved stay so. Raises OSError; if the tools are missing it names Debian's package.
    """
    if not MINIMUM[fs] <= size <= MAXIMUM[fs]:
        told = f"{fs} needs {MINIMUM[fs]} to {MAXIMUM[fs]} bytes, not {size}"
        raise OSError(errno.EINVAL, told, str(image))
    run(fs, image, _MAKERS[fs](str(image), size, uuid, inodes), _MAKE_SECONDS)


def check(fs: str, image: Path) -> None:
    """Look for damage offline and change nothing; raises DamagedFilesystem.

    The image must not be mounted, and must have been unmounted: a journal that still awaits its
    replay looks like damage.
    """
    try:
        run(fs, image, [*_CHECKERS[fs], str(image)], _CHECK_SECONDS)
    except process.ProcessFailed as error:
        if error.signal:  # that says nothing of the image
            raise
        raise DamagedFilesystem(image, findings(error)) from error


def sector_size(fs: str, image: int) -> int:
    """The smallest piece in bytes that the filesystem in an open image reads and writes; <= 4096.

    BLOCK for what we made; others make smaller ones. BLOCK too if the superblock tells none.
    """
    offset, layout = _SECTOR_SIZE[fs]
    found = os.pread(image, layout.size, offset)
    if len(found) < layout.size:
        return BLOCK
    (value,) = layout.unpack(found)
    if fs == "ext4":
        value = 1024 << min(value, 2)  # a logarithm
    return min(value, BLOCK) if value in _SECTOR_SIZES else BLOCK


def check_command(fs: str, image: Path) -> str:
    """What an administrator types to have an image looked at, without changing it."""
    return shlex.join([*_CHECKERS[fs], str(image)])


def identify(image: Path) -> str | None:
    """Which of our filesystems an image holds, by its superblock; None if none of them."""
    fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for fs, offset, magic in _MAGIC:
            if os.pread(fd, len(magic), offset) == magic:
                return fs
    finally:
        os.close(fd)
    return None


def mount_data(fs: str, *, discard: bool) -> tuple[str, ...]:
    """The mount options that a filesystem gets besides the user's.

    With `discard` deleted data gives its space back to the host.
    """
    always = _ALWAYS.get(fs, ())
    if not discard:
        return (*always, "nodiscard")
    return (*always, "discard=async" if fs == "btrfs" else "discard")


def new_identity(fs: str, image: Path, uuid: str) -> None:
    """Give the clone of an image an identity, so that it can be mounted beside its original.

    In no time, however much is in it. The image must not be mounted, and was cloned unmounted or
    frozen: OSError (EBUSY) if a log in it awaits replay, which would not survive this. Nothing is
    to be done for ext4, which does not look, nor for xfs, which is told not to by `mount_data`.
    """
    if fs != "btrfs":
        return
    fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        awaits_replay = os.pread(fd, 8, _BTRFS_LOG_ROOT) != bytes(8)
    finally:
        os.close(fd)
    if awaits_replay:
        told = "its btrfs was not unmounted: mount the original once, unmount it, clone it again"
        raise OSError(errno.EBUSY, told, str(image))
    # Not -U, which rewrites every block of the metadata.
    run(fs, image, ["btrfstune", "-M", uuid, str(image)], _MAKE_SECONDS)


def space(path: Path) -> Space:
    """How full the filesystem at `path` is."""
    found = os.statvfs(path)
    return Space(
        size=found.f_blocks * found.f_frsize,
        used=(found.f_blocks - found.f_bfree) * found.f_frsize,
        available=found.f_bavail * found.f_frsize,
        inodes=found.f_files,
        inodes_free=found.f_ffree,
    )


def run(fs: str, image: Path, argv: list[str], timeout: float) -> None:
    """Run a program of the filesystem's own tools, whatever the host's configuration of them says.

    These programs ask every mounted loop device whether it has the image, and some of others' may
    never answer: such mounts are not shown to them.
    Raises as `process.run` does; if the tools are missing it names Debian's package.
    """
    silent = apart.silent_mounts(image)
    try:
        apart.without(
            silent,
            partial(process.run, argv, timeout=timeout, environment=_NO_CONFIGURATION),
        )
    except FileNotFoundError as error:
        told = f"{argv[0]} is not installed; it is in the package {_PACKAGE[fs]}"
        raise FileNotFoundError(errno.ENOENT, told) from error


def _make_ext4(image: str, size: int, uuid: str, inodes: int | None) -> list[str]:
    journal = _within(_EXT4_JOURNAL, size // 64) // _MIB
    count = ("-i", str(_EXT4_RATIO)) if inodes is None else ("-N", str(inodes + _EXT4_OWN))
    # A new image reads as zeros: neither mkfs nor the kernel in the background need write any.
    zeroed = "assume_storage_prezeroed=1,lazy_itable_init=1,lazy_journal_init=1"
    return [
        *("mke2fs", "-q", "-F", "-t", "ext4", "-O", _EXT4_FEATURES),
        *("-b", "4096", "-I", str(_EXT4_INODE), *count, "-G", "16", "-m", "0", "-e", "remount-ro"),
        *("-J", f"size={journal}", "-E", f"nodiscard,root_owner=0:0,{zeroed}"),
        *("-U", uuid, image, f"{size // _KIB}k"),
    ]


def _make_xfs(image: str, size: int, uuid: str, inodes: int | None) -> list[str]:
    most = "" if inodes is None else f",maxpct={min(100, -(-inodes * _XFS_INODE * 100 // size))}"
    log = _within(_XFS_LOG, size // 64 // _MIB * _MIB)
    # Features of kernel 5.10 and newer, so that an image can move to any host that we support.
    return [
        *("mkfs.xfs", "-q", "-K", "-b", "size=4096", "-s", "size=4096"),
        *("-m", f"crc=1,finobt=1,inobtcount=1,bigtime=1,reflink=1,rmapbt=0,uuid={uuid}"),
        *("-i", f"size={_XFS_INODE},sparse=1,nrext64=0{most}", "-n", "ftype=1"),
        *("-d", f"size={size},noalign", "-l", f"internal=1,size={log}"),
        image,
    ]


def _make_btrfs(image: str, size: int, uuid: str, inodes: int | None) -> list[str]:
    assert inodes is None
    return [
        *("mkfs.btrfs", "-q", "-f", "-K", "-s", "4096", "-n", "16384", "-b", str(size)),
        *("-m", "dup", "-d", "single", "--checksum", "crc32c"),
        *("-O", "extref,skinny-metadata,no-holes", "-R", "free-space-tree"),
        *("-U", uuid, image),
    ]


_MAKERS: Mapping[str, Callable[[str, int, str, int | None], list[str]]] = {
    "ext4": _make_ext4,
    "xfs": _make_xfs,
    "btrfs": _make_btrfs,
}
_CHECKERS = {
    "ext4": ("e2fsck", "-f", "-n"),
    "xfs": ("xfs_repair", "-n", "-f"),
    "btrfs": ("btrfs", "check", "--readonly"),
}


def findings(error: process.ProcessFailed) -> str:
    """The first things that a checker found, in one line."""
    lines = [line.strip() for line in f"{error.stderr}\n{error.stdout}".splitlines()]
    told = [line for line in lines if line and not _CHATTER.match(line)]
    return "; ".join(told[:_FINDINGS]) or str(error)


def _within(bounds: tuple[int, int], wanted: int) -> int:
    low, high = bounds
    return min(high, max(low, wanted))
