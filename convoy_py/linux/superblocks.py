"""Whether all that is in an image is as it was, though it was mounted and unmounted since."""

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

Range = tuple[int, int]
"""Bytes of an image: begin, and the first that is beyond."""

# Where more may have changed something was written, and it is not read to find that it was not.
_FEW = 1 << 20

# Of ext4 when, where and how often it was mounted and how much was written, ever, and the checksum:
# s_mtime, s_wtime, s_mnt_count; s_last_mounted; s_kbytes_written; s_wtime_hi, s_mtime_hi;
# s_checksum. Its journal is not written by this.
_EXT4 = 1024
_EXT4_FIELDS = ((0x2C, 0x36), (0x88, 0xC8), (0x178, 0x180), (0x274, 0x276), (0x3FC, 0x400))

# Of xfs: sb_crc, sb_lsn; and its log, for each mount writes a record.
_XFS_FIELDS = ((224, 228), (240, 248))
_XFS_BLOCK = struct.Struct(">4xI")  # sb_blocksize
# sb_logstart; sb_agblocks, sb_logblocks; sb_agblklog.
_XFS_LOG = struct.Struct(">48xQ28xI8xI24xB")


def are_alike(fs: str, old: int, new: int, moved: Sequence[Range]) -> bool:
    """Whether two open images with ext4 or xfs, unmounted or replayed, hold the same files.

    They may differ in what has `moved`, in order, of which is read what not each mount writes.
    False if that is not known of the filesystem.
    """
    if fs not in _BY_A_MOUNT:
        return False
    left = list(_outside(moved, _BY_A_MOUNT[fs](old)))
    return sum(end - begin for begin, end in left) <= _FEW and all(
        os.pread(old, end - begin, begin) == os.pread(new, end - begin, begin)
        for begin, end in left
    )


def _of_ext4(_image: int) -> Sequence[Range]:
    return [(_EXT4 + begin, _EXT4 + end) for begin, end in _EXT4_FIELDS]


def _of_xfs(image: int) -> Sequence[Range]:
    found = os.pread(image, _XFS_LOG.size, 0)
    (block,) = _XFS_BLOCK.unpack_from(found)
    start, group, length, bits = _XFS_LOG.unpack(found)
    if not start:  # it lies elsewhere
        return _XFS_FIELDS
    # Blocks are numbered within groups, which need not be as long as their numbers could tell.
    first = (start >> bits) * group + (start & ((1 << bits) - 1))
    return (*_XFS_FIELDS, (first * block, (first + length) * block))


_BY_A_MOUNT: Mapping[str, Callable[[int], Sequence[Range]]] = {"ext4": _of_ext4, "xfs": _of_xfs}


def _outside(ranges: Sequence[Range], ignored: Sequence[Range]) -> Iterator[Range]:
    """What of ranges is in none of those that are ignored; all are in order."""
    for begin, end in ranges:
        at = begin
        for low, high in ignored:
            if low < end and at < high:
                if at < low:
                    yield at, low
                at = high
        if at < end:
            yield at, end
