"""Which bytes of a file may be others than they were in an older snapshot, which nobody writes.

What two files on one filesystem have at the same place of the disk is the same; holes are, too. So
nothing is missed, and nothing is read to find it; but a rewrite with the same bytes counts. Where
files share no blocks, each copy has its own places, and it is size and times that tell.
"""

import errno
import os
import stat
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from convoy_py.linux import beneath, btrfs, extents, mounts, superblocks
from convoy_py.linux.descriptors import closing, opened
from convoy_py.linux.extents import Part

Range = tuple[int, int]
"""Bytes of a file: begin, and the first that is beyond."""

Hook = Callable[[bytes, int, os.stat_result], Sequence[Range] | None]
"""What may have changed in a file of the newer tree: its path, the file open, and its stat.

In order, and as few ranges as can be, beyond its end perhaps; None if all of it may have.
"""

_ATTEMPTS = 5
_NOWHERE = Part(1 << 64, 1 << 64, None)
# It was not there, or not such a file, or lies deeper than a path can tell.
_NOT_THERE = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EXDEV,
    errno.ENAMETOOLONG,
    errno.ENXIO,
)
# Nobody writes there, so it is a regular file that was backed up as one; if not, it does no harm.
_AS_IT_IS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOATIME


@contextmanager
def of_trees(old: Path, new: Path) -> Iterator[Hook]:
    """Between two snapshots that are folders, copied file by file or btrfs subvolumes."""
    with opened(old, os.O_PATH | os.O_DIRECTORY) as top:
        are_shared = _share_blocks(old, new)
        yield partial(_by_places, top, None) if are_shared else partial(_by_times, top, False)


@contextmanager
def of_images(old: Path, new: Path, old_image: Path, new_image: Path) -> Iterator[Hook]:
    """Between two folders of images with ext4 or xfs, each of which is mounted, read-only.

    `unchanged` where the images tell that the folders show just the same, in all that is below
    them. Of btrfs, the numbers are no places of the image: only snapshots in one image can be
    compared, and those are trees.
    """
    moved, are_alike = None, False
    if not btrfs.is_btrfs(new) and _share_blocks(old_image, new_image):
        with opened(old_image) as before, opened(new_image) as now:
            moved = between(before, now)
            are_alike = moved is not None and _show_the_same(old, new, before, now, moved)
    with opened(old, os.O_PATH | os.O_DIRECTORY) as top:
        if are_alike:
            yield unchanged
        elif moved is None:
            yield partial(_by_times, top, True)
        else:
            is_still = "ro" in mounts.holding(old).super_options
            yield partial(_by_places, top, moved, is_still=is_still)


def unchanged(_path: bytes, _fd: int, _found: os.stat_result) -> Sequence[Range]:
    """The Hook where it is known of all files at once, and of all else in the folders."""
    return ()


@contextmanager
def of_files(old: Path, new: Path) -> Iterator[Hook]:
    """Between two files that nobody writes, each of which is all of a snapshot."""
    if _share_blocks(old, new):
        with opened(old) as before:
            yield lambda _path, fd, _found: between(before, fd)
    else:
        yield lambda _path, _fd, _found: None


def between(
    old: int, new: int, moved: Sequence[Range] | None = None, *, is_still: bool = False
) -> list[Range] | None:
    """What of two open files of one filesystem does not lie at the same place; None if unknown.

    If the filesystem is not the same but in two images, `moved` is what may differ between those.
    If it `is_still`, nothing can move the blocks of the old one while this looks.
    """
    for _ in range(_ATTEMPTS):
        before, now = extents.parts(old), extents.parts(new)
        if before is None or now is None:
            return None
        # Was it moved meanwhile (defragmented, balanced), another may have got its place.
        if is_still or extents.parts(old) == before:
            return _compared(before, now, moved or ())
    return None


def _by_places(
    top: int,
    moved: Sequence[Range] | None,
    path: bytes,
    fd: int,
    _found: os.stat_result,
    *,
    is_still: bool = False,
) -> Sequence[Range] | None:
    old = _before(top, path)
    if old is None:
        return None
    try:  # as `closing` does, in half the time: there may be millions of files
        return between(old, fd, moved, is_still=is_still)
    finally:
        os.close(old)


def _by_times(
    top: int, is_same_inode: bool, path: bytes, _fd: int, found: os.stat_result
) -> Sequence[Range] | None:
    """As restic tells it; a copy of a whole filesystem keeps inodes and their times, too."""
    old = _before(top, path)
    if old is None:
        return None
    with closing(old):
        before = os.fstat(old)
    keys = ["st_size", "st_mtime_ns"]
    if is_same_inode:
        keys += ["st_ino", "st_ctime_ns"]
    return () if all(getattr(before, key) == getattr(found, key) for key in keys) else None


def _before(top: int, path: bytes) -> int | None:
    """The regular file at a path of the older snapshot, open for reading; None if there is none."""
    try:
        old = beneath.open_at(top, path, _AS_IT_IS)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    if stat.S_ISREG(os.fstat(old).st_mode):
        return old
    os.close(old)
    return None


def _show_the_same(old: Path, new: Path, before: int, now: int, moved: Sequence[Range]) -> bool:
    """Whether what differs in two images is nothing that their mounts show in these folders."""
    shown = [mounts.holding(each) for each in (old, new)]
    if not all("ro" in mount.super_options for mount in shown):
        return False  # what is in memory may be something else
    if old.stat().st_ino != new.stat().st_ino:
        return False
    return superblocks.are_alike(shown[-1].fstype, before, now, moved)


def _share_blocks(one: Path, other: Path) -> bool:
    """Whether a copy of the one may lie where the other does, and is not of necessity elsewhere."""
    # Not by st_dev, of which each btrfs subvolume has its own.
    if mounts.holding(one).device != mounts.holding(other).device:
        return False
    with opened(other) as fd:
        return extents.can_share(fd)


def _compared(before: Sequence[Part], now: Sequence[Part], moved: Sequence[Range]) -> list[Range]:
    if before == now and not moved and all(part.place is not None for part in now):
        return []
    return list(_merged(_differences(before, now, moved)))


def _differences(
    before: Sequence[Part], now: Sequence[Part], moved: Sequence[Range]
) -> Iterator[Range]:
    """Goes along both files, from one place where a part begins or ends to the next."""
    i = j = at = 0
    while i < len(before) or j < len(now):
        old = before[i] if i < len(before) else _NOWHERE
        new = now[j] if j < len(now) else _NOWHERE
        at = max(at, min(old.begin, new.begin))
        ends = [part.end if part.begin <= at else part.begin for part in (old, new)]
        end = min(ends)
        if max(old.begin, new.begin) <= at and _is_same_place(old, new):
            assert new.place is not None
            yield from _touched(moved, at, end, new.place - new.begin)
        else:
            yield at, end
        at = end
        i += old.end <= at
        j += new.end <= at


def _is_same_place(old: Part, new: Part) -> bool:
    if old.place is None or new.place is None:
        return False
    return old.place - old.begin == new.place - new.begin


def _touched(moved: Sequence[Range], begin: int, end: int, offset: int) -> Iterator[Range]:
    """What of a part of a file is moved, if it lies so many bytes further on in an image."""
    first = bisect_right(moved, begin + offset, key=lambda part: part[1])
    for low, high in moved[first:]:
        if low >= end + offset:
            return
        yield max(begin, low - offset), min(end, high - offset)


def _merged(ranges: Iterator[Range]) -> Iterator[Range]:
    last: Range | None = None
    for begin, end in ranges:
        if last is not None and last[1] == begin:
            last = last[0], end
        else:
            if last is not None:
                yield last
            last = begin, end
    if last is not None:
        yield last
