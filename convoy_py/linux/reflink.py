"""Copies of files: by reflink in no time, else with holes kept and a word on the way."""

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

from convoy_py.linux import btrfs, files, fsxattr, mounts

Step = Callable[[int], None]
"""Is told the bytes done since it was last called, and may raise to stop the work."""

_FICLONE = 0x40049409

_IN_PIECES, _AT_ONCE = 0x800, 256 << 10
_NO_PIECES = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL})

_MIB = 1 << 20
_BLOCK = 4096
_PIECE = 16 * _MIB
_BUFFER = 256 << 10
_UNSETTLED = 64 * _MIB

# What filesystems without reflinks answer to FICLONE, and those that differ from one another.
_NO_REFLINK = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV})
# The kernel does not copy between these two by itself, or not as it is asked.
_NOT_BY_KERNEL = frozenset({errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})

_PROBED, _PROBE_SECONDS = 32 * _MIB, 0.5

# By st_dev and f_fsid: the number of a loop device comes again, with another filesystem on it.
_Filesystem = tuple[int, int]
_support: dict[_Filesystem, str | None] = {}
_speeds: dict[_Filesystem, float] = {}


def support(folder: Path) -> str | None:
    """None if files in `folder` can share their blocks by reflink, else the reason, in words.

    Found out by trying, once for each filesystem. Raises FileNotFoundError if there is no folder.
    """
    filesystem = _filesystem(folder)
    if filesystem not in _support:
        try:
            _support[filesystem] = _probed(folder)
        except OSError as error:
            if btrfs.is_btrfs(folder):
                return None
            # A full disk, say: that will be otherwise some day.
            return f"reflinks could not be tried: {error.strerror}"
    return _support[filesystem]


def clone(source: int, target: int) -> None:
    """Let the empty file `target` share all blocks of `source`; no data is read or written.

    The time grows with the number of fragments, not with the size: 2500 take some 50 ms. What was
    said of the source with `keep_in_pieces` holds for the target, too.
    Raises OSError where the two cannot: EOPNOTSUPP, EXDEV, EINVAL.
    """
    prepare(source, target)
    fcntl.ioctl(target, _FICLONE, source)


def prepare(source: int, target: int) -> None:
    """See to it that the empty file `target` may share blocks of `source`, and gets its as that."""
    # On btrfs only files that are both overwritten in place, or both not, may share.
    if files.is_nocow(source):
        files.set_nocow(target)
    if size := _pieces(source):
        _keep_in_pieces(target, size)


def keep_in_pieces(fd: int) -> None:
    """Have xfs give this still empty file at least 256 KiB at once; others do as they please.

    Small writes all over a sparse file would make a fragment each, and clones take that long.
    """
    _keep_in_pieces(fd, _AT_ONCE)


def copy(
    source: int,
    target: int,
    step: Step,
    *,
    share: bool = True,
    pieces: Iterator[int] | None = None,
) -> None:
    """Make the empty file `target` a copy of `source`: by reflink, else of its data, holes kept.

    Where it may not `share`, each block is one of its own, and those that `target` has stay.
    What was reserved and never written counts as a hole. `step` is called at least every
    16 MiB of data, or after each of the `pieces`, sizes without end; what it is told adds up to the
    size of `source`, with holes. A source that grows meanwhile is copied up to the size it had.
    Large copies are on the disk on return, but for the last 64 MiB, and leave the page cache to
    others.
    """
    size = os.fstat(source).st_size
    if share and _cloned(source, target):
        step(size)
        return
    # At its size from the start: xfs fills holes behind the data of files that are growing.
    os.ftruncate(target, size)
    os.posix_fadvise(source, 0, 0, os.POSIX_FADV_NOREUSE)
    at = settled = 0
    sizes = repeat(_PIECE) if pieces is None else pieces
    for start, end in data(source, size):
        step(start - at)
        at = start
        while at < end:
            done = _moved(source, target, at, min(next(sizes), end - at), share=share)
            if not done:
                break  # the source was cut short meanwhile
            at += done
            step(done)
            if at - settled >= _UNSETTLED:
                _settle(target)
                settled = at
    os.ftruncate(target, min(size, os.fstat(source).st_size))
    step(size - at)


def data(source: int, size: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of each part of the file that is no hole, below `size`."""
    end = 0
    while end < size:
        try:
            begin = min(size, os.lseek(source, end, os.SEEK_DATA))
            end = min(size, os.lseek(source, begin, os.SEEK_HOLE))
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        yield begin, end


def scaled(step: Step, size: int, counted: int) -> Step:
    """A step for `size` bytes that tells the given one of `counted` in all."""
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        step(done * counted // max(size, 1) - before * counted // max(size, 1))

    return tell


def speed(folder: Path) -> float:
    """Roughly the bytes per second at which a copy without reflinks goes in `folder`.

    Measured once for each filesystem: 32 MiB, or what can be written in half a second. Raises
    OSError (ENOSPC) if there is no room for that.
    """
    filesystem = _filesystem(folder)
    if filesystem not in _speeds:
        _speeds[filesystem] = _measured(folder)
    return _speeds[filesystem]


def _filesystem(folder: Path) -> _Filesystem:
    return folder.stat().st_dev, os.statvfs(folder).f_fsid


def _probed(folder: Path) -> str | None:
    # Both have no name, so that nothing is left of them whatever happens.
    with (
        tempfile.TemporaryFile(dir=folder, buffering=0) as source,
        tempfile.TemporaryFile(dir=folder, buffering=0) as target,
    ):
        source.write(bytes(_BLOCK))
        if _cloned(source.fileno(), target.fileno()):
            return None
    fstype = mounts.holding(folder).fstype
    if fstype == "xfs":
        return "this xfs was made without reflinks"
    return f"{fstype} has no reflinks"


def _pieces(fd: int) -> int:
    """The bytes that the file is given at once at least; 0 if nothing was said about that."""
    try:
        found = fsxattr.read(fd)
    except OSError as error:
        if error.errno not in _NO_PIECES:
            raise
        return 0
    return found.extent_size if found.flags & _IN_PIECES else 0


def _keep_in_pieces(fd: int, size: int) -> None:
    try:
        found = fsxattr.read(fd)
        fsxattr.write(fd, found._replace(flags=found.flags | _IN_PIECES, extent_size=size))
    except OSError as error:
        if error.errno not in _NO_PIECES:
            raise


def _cloned(source: int, target: int) -> bool:
    try:
        clone(source, target)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
        return False
    return True


def _moved(source: int, target: int, at: int, count: int, *, share: bool) -> int:
    """Copy at most `count` bytes that begin `at`; how many were copied, 0 at the source's end."""
    if not share:  # the kernel might, in every way that it has to copy
        return _moved_by_hand(source, target, at, min(count, _BUFFER))
    try:
        done = os.copy_file_range(source, target, count, at, at)
    except OSError as error:
        if error.errno not in _NOT_BY_KERNEL:
            raise
        done = 0
    # Some filesystems answer 0, which is to say the end, where there is more.
    return done or _moved_by_hand(source, target, at, min(count, _BUFFER))


def _moved_by_hand(source: int, target: int, at: int, count: int) -> int:
    data = memoryview(os.pread(source, count, at))
    written = 0
    while written < len(data):
        written += os.pwrite(target, data[written:], at + written)
    return written


def _settle(target: int) -> None:
    """Have the disk keep pace with the copy, whose pages nobody is going to read soon."""
    os.fdatasync(target)
    os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)


def _measured(folder: Path) -> float:
    data = os.urandom(_MIB) * 4  # of a kind that no filesystem compresses
    written = 0
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        begin = time.perf_counter()
        while True:
            written += file.write(data)
            os.fdatasync(file.fileno())
            elapsed = time.perf_counter() - begin
            if written >= _PROBED or elapsed >= _PROBE_SECONDS:
                return written / elapsed
