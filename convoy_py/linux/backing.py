"""Which loop devices may hold a file, told without a word to the storage on which theirs lie.

To ask a device for its file is to ask that file's storage, which may never answer. What the kernel
tells without asking it is a path, as it was seen where the file was attached: in another mount
namespace, or on a mount that was taken away since, it begins otherwise, but it ends alike. So who
may hold a file is who has one of its name or on its filesystem; ruled out is only what lies on
another filesystem without a disk of its own, such as NFS or FUSE.
"""

import errno
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from convoy_py.linux import mounts
from convoy_py.linux.descriptors import opened
from convoy_py.linux.mounts import Mount

# A line of /proc/partitions: major 7, minor, blocks, name.
_PARTITION = re.compile(rb"^ +7 +\d+ +\d+ loop(\d+)$", re.MULTILINE)
_DELETED = " (deleted)"
# The file's own name and its folder's: above them, paths differ by where one looks from.
_TAIL = 2
# The device was detached before, or while, its attribute was read.
_GONE = (errno.ENOENT, errno.ENODEV)
_PAGE = 4096  # no attribute is longer, and it is read at once


@dataclass(frozen=True, slots=True)
class Candidate:
    """The number of a device; `likely` if its file has the name, or the filesystem, asked for.

    `path` is that of its file, as `path()` tells it.
    """

    number: int
    likely: bool
    path: str | None = field(default=None, compare=False)


def candidates(file: Path) -> list[Candidate]:
    """Every device that may hold `file`, which may be gone; asks no storage but that file's own."""
    in_use = [(number, known) for number in _bound() if (known := path(number)) != ""]
    if not in_use:
        return []
    own, covers = _holding(file), mounts.Covers()
    found = []
    for number, known in in_use:
        likely, on = True, None
        if known is not None and not _ends_alike(known, file):
            on = covers.of(known)
            likely = on is not None and on.device == own.device
        if not likely and on is not None and _may_hang(on):
            continue
        found.append(Candidate(number, likely, known))
    return found


def _bound() -> list[int]:
    """Devices that hold a file: those with a size, which alone are listed in /proc/partitions."""
    return [int(number) for number in _PARTITION.findall(Path("/proc/partitions").read_bytes())]


def path(number: int) -> str | None:
    """The path of a device's file; "" if it holds none by now, None if that cannot be told."""
    try:
        with opened(f"/sys/block/loop{number}/loop/backing_file") as fd:
            told = os.read(fd, _PAGE)
    except OSError as error:
        return "" if error.errno in _GONE else None  # as one that is too long
    return os.fsdecode(told.removesuffix(b"\n"))


def below(folder: Path) -> list[PurePath]:
    """The files in a folder that devices hold, below it; asks no storage."""
    top = os.path.realpath(folder)
    held = (path(number) for number in _bound())
    return [
        PurePath(known).relative_to(top)
        for known in held
        if known is not None and known.startswith(f"{top}/")
    ]


def _ends_alike(known: str, file: Path) -> bool:
    """Whether the last parts of a path, as many as it has and count, are those of `file`."""
    return any(
        file.parts[-len(tail) :] == tail
        for name in (known, known.removesuffix(_DELETED))
        if (tail := tuple(name.partition("/")[2].rsplit("/", _TAIL)[-_TAIL:]))
    )


def _holding(file: Path) -> Mount:
    """The mount on which a file lies, or would lie."""
    for each in (file, *file.parents):
        with suppress(FileNotFoundError, NotADirectoryError):
            return mounts.holding(each)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))


def _may_hang(mount: Mount) -> bool:
    """Whether a filesystem has no disk of its own, but one that answers for it."""
    return mount.device.startswith("0:") or mount.fstype.startswith("fuse")
