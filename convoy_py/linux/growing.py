"""Filesystems made larger, mounted or in an image, and trimmed of the blocks they do not use."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from convoy_py.linux import files, filesystems, mounts, process
from convoy_py.linux.descriptors import opened

_SECTOR = 512
_MIB = 1 << 20
_GROW_SECONDS = 3600.0

# Bits of a process's capabilities.
_NEEDED = MappingProxyType(
    {"ext4": ("CAP_SYS_RESOURCE", 24), "xfs": ("CAP_SYS_ADMIN", 21), "btrfs": ("CAP_SYS_ADMIN", 21)}
)

_FITRIM = 0xC0185879
_FSTRIM_RANGE = struct.Struct("=3Q")  # start, length, least length of what is trimmed

_EXT4_RESIZE = 0x40086610
_XFS_GEOMETRY = 0x8100587E
_XFS_GROW_DATA = 0x4010586E
_BTRFS_RESIZE = 0x50009403
_BTRFS_FS_INFO = 0x8400941F
_BTRFS_DEV_INFO = 0xD000941E

_XFS_UNITS = 4096
_XFS_BLOCK_SIZE_AT, _XFS_UNIT_AT = 4, 84

# xfs_fsop_geom: block size, six others, most percent of inodes, then the number of data blocks.
_XFS_GEOM = struct.Struct("=I24xIQ216x")
_XFS_GROWTH = struct.Struct("=QI4x")  # data blocks, most percent of inodes
_BTRFS_ARGS = struct.Struct("=q4088s")
_BTRFS_FS = struct.Struct("=Q1016x")  # the largest device id
_BTRFS_DEV = struct.Struct("=Q16x2Q4056x")  # device id, bytes used, bytes in all

# So many units mkfs.xfs makes of what is smaller than 4 TiB.
_XFS_FIRST_UNITS = 4

# Each block of descriptors, 64 bytes for a group of 128 MiB, describes so much of an ext4; mke2fs
# keeps room for those of 1024 times its size, but no more than so many.
_EXT4_STEP, _EXT4_TIMES, _EXT4_RESERVED = 8 << 30, 1024, 1024
# Multiples of this make whole steps.
_BEGINNING = _EXT4_STEP // _EXT4_TIMES

# The kernel gives a device of btrfs no new size below this.
_BTRFS_SMALLEST = 256 * _MIB

_SUPERBLOCK, _SUPERBLOCK_SIZE, _CHECKSUM_AT = 1024, 1024, 1020
_MAGIC = b"\x53\xef"
_ERRORS_FOUND = 2
_META_CHECKSUM = 0x400
_BIT_64 = 0x80
_SPARSE_SUPER2 = 0x200
_CRC32C = 0x82F63B78


def bounds(fs: str, image: Path) -> tuple[int, int]:
    """(smallest, largest) size in bytes to which the filesystem in an image may be grown.

    The largest is what Linux takes for btrfs, and about 1024 times the first size for the others.
    Ext4 has room for the descriptors of that; for more, resize2fs moves what is in the way, and
    has been seen to lose every file of a full filesystem so. XFS keeps its first unit of
    allocation, and with more than 4096 of these a mount takes many seconds.
    """
    smallest, largest = filesystems.MINIMUM[fs], filesystems.MAXIMUM[fs]
    if fs == "ext4":
        return smallest, min(_Ext4.read(image).reserved_for, largest)
    if fs == "xfs":
        return smallest, min(_xfs_unit(image) * _XFS_UNITS, largest)
    return _BTRFS_SMALLEST, largest


def reach(fs: str, size: int) -> int:
    """The largest size that `bounds` will tell of a filesystem which is made with `size` bytes.

    Not a byte less; a step of its growth more, where mkfs rounds down.
    """
    largest = filesystems.MAXIMUM[fs]
    if fs == "xfs":
        unit = -(-size // (_XFS_FIRST_UNITS * filesystems.BLOCK)) * filesystems.BLOCK
        return min(unit * _XFS_UNITS, largest)
    if fs == "ext4":
        described, wanted = -(-size // _EXT4_STEP), -(-size * _EXT4_TIMES // _EXT4_STEP)
        reserved = min(wanted - described, _EXT4_RESERVED)
        return min((described + reserved) * _EXT4_STEP, largest)
    return largest


def beginning(fs: str, most: int) -> int:
    """A size, as people write them, with which a filesystem is made that can grow to `most`."""
    size = max(filesystems.MINIMUM[fs], -(-most // _EXT4_TIMES // _BEGINNING) * _BEGINNING)
    while reach(fs, size) < most:
        size = (size // _EXT4_STEP + 1) * _EXT4_STEP
    return size


def can_grow_online(fs: str) -> str | None:
    """None if this process may grow such a filesystem while it is mounted, else the reason."""
    name, bit = _NEEDED[fs]
    if _capabilities() >> bit & 1:
        return None
    return f"{fs} grows while it is mounted only for a process with {name}"


def grow_online(fs: str, mountpoint: Path) -> None:
    """Let a mounted filesystem fill its device, while it is used; nothing to do if it does.

    It has the old or the new size after a crash at any point, and the new one for good on return.
    Raises PermissionError with the reason that `can_grow_online` gives; OSError: EINVAL for a
    btrfs below 256 MiB, EBUSY while it is balanced or the like.
    """
    reason = can_grow_online(fs)
    if reason is not None:
        raise PermissionError(errno.EPERM, reason, str(mountpoint))
    size = _device_size(mountpoint)
    with opened(mountpoint) as fd:
        _GROWERS[fs](fd, size)


def grow_offline(fs: str, image: Path) -> bool:
    """Let the filesystem in an image that is not attached fill the file.

    False, with nothing done, where it must be mounted for that: `grow_online` does it then. To be
    repeated if it was interrupted, be it by a power cut: until then it may not be mountable.
    Raises DamagedFilesystem, with nothing done, if there is damage of another origin, and OSError
    (EFBIG) if the file is larger than `bounds` tells.
    """
    if fs != "ext4":
        return False
    found = _Ext4.read(image)
    size = image.stat().st_size
    if size > found.reserved_for:
        told = f"this ext4 can grow to {found.reserved_for} bytes, its file has {size}"
        raise OSError(errno.EFBIG, told, str(image))
    if size < found.size:
        told = f"its file has {size} bytes, its ext4 {found.size}: the file was cut"
        raise filesystems.DamagedFilesystem(image, told)
    if size < found.size + found.block and not found.was_interrupted:
        return True
    if not found.has_right_checksum:
        _write_checksum(image, found)
    _mend(image, answer="-y" if found.was_interrupted else "-p")
    filesystems.run(fs, image, ["resize2fs", str(image)], _GROW_SECONDS)
    return True


def trim(mountpoint: Path) -> int:
    """Give the blocks that a mounted filesystem does not use back to the host.

    What was deleted before counts too, but for xfs, which may need a moment to free it. Returns
    the bytes that the filesystem says it gave, not all of which need have been held.
    OSError: EOPNOTSUPP where discards are forbidden, EROFS on a read-only filesystem.
    """
    everything = bytearray(_FSTRIM_RANGE.pack(0, 2**64 - 1, 0))
    files.sync_filesystem(mountpoint)  # a block is free once the deletion is on the disk
    with opened(mountpoint) as fd:
        fcntl.ioctl(fd, _FITRIM, everything)
    trimmed: int = _FSTRIM_RANGE.unpack(everything)[1]
    return trimmed


def _capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _device_size(mountpoint: Path) -> int:
    number = Path(mounts.holding(mountpoint).source).stat().st_rdev
    sectors = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/size").read_text()
    return int(sectors) * _SECTOR


def _xfs_unit(image: Path) -> int:
    """Bytes in an allocation group."""
    with opened(image) as fd:
        block = os.pread(fd, 4, _XFS_BLOCK_SIZE_AT)
        blocks = os.pread(fd, 4, _XFS_UNIT_AT)
    return int.from_bytes(block, "big") * int.from_bytes(blocks, "big")


def _grow_ext4(fd: int, size: int) -> None:
    fcntl.ioctl(fd, _EXT4_RESIZE, struct.pack("=Q", size // os.fstatvfs(fd).f_bsize))


def _grow_xfs(fd: int, size: int) -> None:
    geometry = fcntl.ioctl(fd, _XFS_GEOMETRY, bytes(_XFS_GEOM.size))
    block, inodes, blocks = _XFS_GEOM.unpack(geometry)
    if size // block > blocks:
        fcntl.ioctl(fd, _XFS_GROW_DATA, _XFS_GROWTH.pack(size // block, inodes))


def _grow_btrfs(fd: int, size: int) -> None:
    # Of one device, which has another number than 1 if it took the place of another.
    (device,) = _BTRFS_FS.unpack(fcntl.ioctl(fd, _BTRFS_FS_INFO, bytes(_BTRFS_FS.size)))
    answer = bytearray(_BTRFS_DEV.pack(device, 0, 0))
    fcntl.ioctl(fd, _BTRFS_DEV_INFO, answer)
    if size < _BTRFS_DEV.unpack(answer)[2] + filesystems.BLOCK:
        return
    if size < _BTRFS_SMALLEST:
        raise OSError(errno.EINVAL, f"btrfs grows to {_BTRFS_SMALLEST} bytes or more, not {size}")
    args = bytearray(_BTRFS_ARGS.pack(0, b"%d:max" % device))
    if fcntl.ioctl(fd, _BTRFS_RESIZE, args):
        raise OSError(errno.EBUSY, "its btrfs is being balanced or otherwise rearranged")


_GROWERS: Mapping[str, Callable[[int, int], None]] = MappingProxyType(
    {"ext4": _grow_ext4, "xfs": _grow_xfs, "btrfs": _grow_btrfs}
)


@dataclass(frozen=True, slots=True)
class _Ext4:
    """What the superblock of an ext4 says; sizes in bytes, `reserved_for` what it may grow to."""

    raw: bytes
    block: int
    size: int
    reserved_for: int

    @classmethod
    def read(cls, image: Path) -> "_Ext4":
        with opened(image) as fd:
            raw = os.pread(fd, _SUPERBLOCK_SIZE, _SUPERBLOCK)
        if raw[0x38:0x3A] != _MAGIC:
            raise filesystems.DamagedFilesystem(image, "it has no superblock of ext4")
        block, first, group = 1024 << _u32(raw, 0x18), _u32(raw, 0x14), _u32(raw, 0x20)
        blocks = _u32(raw, 0x150) << 32 | _u32(raw, 0x04)
        per_block = block // (_u16(raw, 0xFE) if _u32(raw, 0x60) & _BIT_64 else 32)
        described = -(-(blocks - first) // (group * per_block)) + _u16(raw, 0xCE)
        largest = described * per_block * group * block
        # With this one, which few have chosen, resize2fs leaves damage behind.
        is_odd = _u32(raw, 0x5C) & _SPARSE_SUPER2
        return cls(
            raw=raw,
            block=block,
            size=blocks * block,
            reserved_for=blocks * block if is_odd else largest,
        )

    @property
    def was_interrupted(self) -> bool:
        """Whether resize2fs did not come to its end.

        It says that errors were found while it works, and the kernel, which says so when it does
        find one, counts it as well. A superblock is written in pieces, its checksum at the end.
        """
        found = _u16(self.raw, 0x3A) & _ERRORS_FOUND and not _u32(self.raw, 0x194)
        return bool(found) or not self.has_right_checksum

    @property
    def has_right_checksum(self) -> bool:
        if not _u32(self.raw, 0x64) & _META_CHECKSUM:
            return True
        return _u32(self.raw, _CHECKSUM_AT) == _crc32c(self.raw[:_CHECKSUM_AT])


def _write_checksum(image: Path, found: _Ext4) -> None:
    """Make e2fsck look at a superblock that was being written; a small ext4 has no copy of it."""
    checksum = struct.pack("<I", _crc32c(found.raw[:_CHECKSUM_AT]))
    with opened(image, os.O_WRONLY | os.O_NOFOLLOW) as fd:
        os.pwrite(fd, checksum, _SUPERBLOCK + _CHECKSUM_AT)


def _mend(image: Path, *, answer: str) -> None:
    """Replay the journal and mend what `-p`, or `-y`, allows: e2fsck(8)."""
    try:
        filesystems.run("ext4", image, ["e2fsck", "-f", answer, str(image)], _GROW_SECONDS)
    except process.ProcessFailed as error:
        if error.signal:  # that says nothing of the image
            raise
        if error.status != 1:  # 1 is "mended"
            raise filesystems.DamagedFilesystem(image, filesystems.findings(error)) from error


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CRC32C if crc & 1 else 0)
    return crc


def _u16(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 2], "little")


def _u32(raw: bytes, at: int) -> int:
    return int.from_bytes(raw[at : at + 4], "little")
