"""What the filesystem of a folder really does, found out by trying, for there are those that lie.

What several hosts would see of it is not tried: that takes a second one.
"""

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convoy_py.linux import files, reflink

_MIB = 1 << 20
_HOLE = 64 * _MIB
# Of what is written to be copied: in all, between two looks at the clock, and for how long.
_COPIED, _PIECE, _WRITE_SECONDS = 64 * _MIB, 8 * _MIB, 2.0
# What a copy that moves no data takes is at most this part of the time that writing took. The
# fastest of a few counts, for others use the storage, too.
_QUICK_PART, _ATTEMPTS = 0.25, 3
# Leftovers of whoever is killed here, a few empty folders, are swept where this is what they do.
_STAGING = ".new-probe-"


@dataclass(frozen=True)
class Abilities:
    """Each as of one client of the filesystem."""

    swaps: bool  # a rename fails if its source has gone, or its target is a folder with content
    exchanges: bool  # two names trade places
    reflinks: bool
    quick_copies: bool | None  # a whole file's is no work; None: there was no room to try
    tells_holes: bool  # to whoever looks for data in a file
    tells_blocks: bool  # `st_blocks` is what a file takes
    locks: bool  # flock


def abilities(folder: Path, clock: Callable[[], float] = time.monotonic) -> Abilities:
    """Try all of it; leaves nothing. Raises OSError if nothing can be made in the folder.

    Takes moments, or a few seconds where storage is slow; where it hangs, as long as that does.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=_STAGING) as made:
        place = Path(made)
        reflinks = reflink.support(place) is None
        tells_holes, tells_blocks = _sparse(place)
        return Abilities(
            swaps=_swaps(place),
            exchanges=_exchanges(place),
            reflinks=reflinks,
            quick_copies=reflinks or _copies_quickly(place, clock),
            tells_holes=tells_holes,
            tells_blocks=tells_blocks,
            locks=_locks(place),
        )


def _swaps(place: Path) -> bool:
    folder = place / "swapped"
    for name in ("old", "taken"):
        (folder / name / "within").mkdir(parents=True)
    (folder / "old").rename(folder / "new")
    return not _renamed(folder / "old", folder / "late") and not _renamed(
        folder / "new", folder / "taken"
    )


def _renamed(old: Path, new: Path) -> bool:
    try:
        old.rename(new)
    except OSError:
        return False
    return True


def _exchanges(place: Path) -> bool:
    folder = place / "exchanged"
    folder.mkdir()
    one, other = folder / "one", folder / "other"
    one.write_text("1")
    other.write_text("2")
    try:
        files.exchange(one, other)
        return (one.read_text(), other.read_text()) == ("2", "1")
    except OSError:
        return False


def _sparse(place: Path) -> tuple[bool, bool]:
    """Whether it is told where data lies, and how many blocks it takes."""
    with tempfile.TemporaryFile(dir=place, buffering=0) as file:
        fd = file.fileno()
        os.truncate(fd, _HOLE)
        try:
            holes = os.lseek(fd, 0, os.SEEK_HOLE) == 0
        except OSError:
            holes = False
        os.pwrite(fd, os.urandom(_MIB), 0)
        os.fsync(fd)
        # With room for what an index takes.
        return holes, _MIB <= os.fstat(fd).st_blocks * 512 < 4 * _MIB


def _locks(place: Path) -> bool:
    with (place / "lock").open("wb") as mine, (place / "lock").open("wb") as other:
        try:
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _copies_quickly(place: Path, clock: Callable[[], float]) -> bool | None:
    with tempfile.TemporaryFile(dir=place, buffering=0) as source:
        try:
            took = _written(source.fileno(), clock)
            return any(
                _copied(place, source.fileno(), took * _QUICK_PART, clock) for _ in range(_ATTEMPTS)
            )
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return None
            raise


def _written(fd: int, clock: Callable[[], float]) -> float:
    """How long it took to write the file, which is shorter where that is slow."""
    data = os.urandom(_MIB)  # of a kind that no filesystem compresses
    began, took, size = clock(), 0.0, 0
    while size < _COPIED and took < _WRITE_SECONDS:
        for _ in range(_PIECE // _MIB):
            size += os.pwrite(fd, data, size)
        os.fdatasync(fd)
        took = clock() - began
    return took


def _copied(place: Path, source: int, patience: float, clock: Callable[[], float]) -> bool:
    """Whether a copy is made, and right, in so many seconds; one that is not is broken off."""
    size = os.fstat(source).st_size
    with tempfile.TemporaryFile(dir=place, buffering=0) as file:
        target, done = file.fileno(), 0
        began = clock()
        while done < size:
            try:
                # The first piece tells how much of a bargain the rest can be.
                count = os.copy_file_range(source, target, size if done else _PIECE, done, done)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                return False
            os.fdatasync(target)
            done += count
            if not count or clock() - began > patience:
                return False
        return os.pread(target, _MIB, size - _MIB) == os.pread(source, _MIB, size - _MIB)
