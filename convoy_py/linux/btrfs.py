"""Btrfs subvolumes, their snapshots and quotas, and where files differ, by ioctl."""

import ctypes
import errno
import fcntl
import os
import stat
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from convoy_py.linux import libc
from convoy_py.linux.descriptors import opened
from convoy_py.linux.walk import FOLDER

_MAGIC = 0x9123683E
_SUBVOLUME_INODE = 256

_SUBVOL_CREATE = 0x5000940E
_SUBVOL_SETFLAGS = 0x4008941A
_SNAP_CREATE_V2 = 0x50009417
_SNAP_DESTROY = 0x5000940F
_TREE_SEARCH = 0xD0009411
_TREE_SEARCH_V2 = 0xC0709411
_INO_LOOKUP = 0xD0009412
_QUOTA_CTL = 0xC0109428
_QGROUP_LIMIT = 0x8030942B
_SYNC = 0x9408
_FS_INFO = 0x8400941F

_QUOTA_ENABLE = 1
_LIMIT_REFERENCED = 1
_NO_LIMIT = 2**64 - 1
_READ_ONLY = 2

_VOL_ARGS = struct.Struct("=q4088s")
_VOL_ARGS_V2 = struct.Struct("=q2Q32x4040s")
_LOOKUP_ARGS = struct.Struct("=2Q4080s")
_LIMIT_ARGS = struct.Struct("=6Q")
_SEARCH_KEY, _SEARCH_KEY_V2 = struct.Struct("=7Q4I32x"), struct.Struct("=7Q4I32xQ")
_SEARCH_SIZE = 4096
_MANY, _LAST = 2**32 - 1, 2**64 - 1
_SEARCH_HEADER = struct.Struct("=3Q2I")
_QGROUP_INFO = struct.Struct("<5Q")
# Of a file's extent, behind its header: begin in the file, and what says where its data is and how.
_EXTENT = struct.Struct("=16xQ16x45s")
_EXTENT_LENGTH, _NOT_INLINE = struct.Struct("=28xI53x"), 53
_BLOCKS = struct.Struct("<37xQ")
_BATCH = 1 << 20
_ROOT_REF = struct.Struct("<2QH")

_ROOT_TREE, _QUOTA_TREE = 1, 8
_ROOT_REF_KEY, _QGROUP_INFO_KEY, _ORPHAN_KEY = 156, 242, 48
_EXTENT_DATA_KEY = 108
_ORPHANS = 2**64 - 5


class _Child(NamedTuple):
    """A subvolume within another: the inode of the folder it lies in, and its name there."""

    folder: int
    name: str


class _Counted(NamedTuple):
    """Bytes of a subvolume: all that it refers to, and those that it alone refers to."""

    referenced: int
    exclusive: int


def is_btrfs(path: Path | int) -> bool:
    """Whether the file, a path or an open descriptor, lies on btrfs."""
    if isinstance(path, int):
        return libc.filesystem_magic(path) == _MAGIC
    with opened(path) as fd:
        return libc.filesystem_magic(fd) == _MAGIC


def is_subvolume(path: Path) -> bool:
    """Whether `path` itself, no link to it, is the root of a subvolume; FileNotFoundError."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_ino == _SUBVOLUME_INODE and is_btrfs(path)


def is_subvolume_at(folder: int, name: str) -> bool:
    """Whether `name` in an open folder, known to lie on btrfs, is the root of a subvolume."""
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino == _SUBVOLUME_INODE


def create_subvolume(path: Path) -> None:
    """Create an empty subvolume at `path`; FileExistsError if something is there."""
    with opened(path.parent) as folder:
        fcntl.ioctl(folder, _SUBVOL_CREATE, _vol_args(path.name))


def snapshot(source: Path, target: Path, *, read_only: bool) -> None:
    """Make `target` a subvolume with the content that `source`, a subvolume, has at this moment.

    All of it or nothing, in milliseconds, and committed to the disk with everything that was
    written to `source` before, fsynced or not. Empty folders stand where it has nested
    subvolumes: see `nested`. Raises FileExistsError, and EXDEV if they are not on one filesystem.
    """
    name = os.fsencode(target.name)
    with opened(source) as fd, opened(target.parent) as folder:
        args = _VOL_ARGS_V2.pack(fd, 0, _READ_ONLY if read_only else 0, name)
        fcntl.ioctl(folder, _SNAP_CREATE_V2, bytearray(args))


def set_read_only(path: Path, *, on: bool) -> None:
    """Make the subvolume `path` refuse every change, or take changes again."""
    with opened(path) as fd:
        fcntl.ioctl(fd, _SUBVOL_SETFLAGS, struct.pack("=Q", _READ_ONLY if on else 0))


def nested(path: Path) -> list[str]:
    """The subvolumes somewhere below the subvolume `path`, as paths relative to it, sorted.

    Those that lie in others of these are not listed. A snapshot of `path` leaves all of them out.
    """
    with opened(path) as fd:
        return sorted(str(Path(_path_of(fd, child.folder), child.name)) for child in _children(fd))


def delete_subvolume(path: Path) -> None:
    """Delete a subvolume with all that is in it, nested subvolumes too."""
    with opened(path.parent) as folder:
        delete_subvolume_at(folder, path.name)


def delete_subvolume_at(folder: int, name: str) -> None:
    """The same for `name` in an open folder. Nested subvolumes go first: the kernel insists.

    However deep users nest them, a few descriptors and no recursion: each time from the top down
    to one that has no other in it.
    """
    while _delete_innermost(os.dup(folder), name):
        pass


def _delete_innermost(parent: int, name: str) -> bool:
    """Delete one subvolume without children at or below `name`; whether it was a nested one.

    Owns the descriptor `parent`.
    """
    is_nested = False
    try:
        while True:
            with opened(name, folder=parent) as fd:
                child = next(_children(fd), None)
                if child is None:
                    break
                # One that was made read-only would not let go of what is in it.
                fcntl.ioctl(fd, _SUBVOL_SETFLAGS, struct.pack("=Q", 0))
                folder = _path_of(fd, child.folder)
                nearest = os.open(folder, FOLDER, dir_fd=fd)
            os.close(parent)
            parent, name, is_nested = nearest, child.name, True
        fcntl.ioctl(parent, _SNAP_DESTROY, _vol_args(name))
    finally:
        os.close(parent)
    return is_nested


def enable_quota(path: Path) -> None:
    """Turn on quota groups for the filesystem of `path`; does nothing if they are on.

    The kernel then counts what is there in the background; simple quotas stay simple quotas.
    """
    with opened(path) as fd:
        fcntl.ioctl(fd, _QUOTA_CTL, bytearray(struct.pack("=2Q", _QUOTA_ENABLE, 0)))


def set_limit(path: Path, limit: int | None) -> None:
    """Bound the bytes that the subvolume `path` may refer to; None lifts the bound.

    Quotas must be on. Writing beyond the bound is EDQUOT.
    """
    most = _NO_LIMIT if limit is None else limit
    with opened(path) as fd:
        args = _LIMIT_ARGS.pack(_subvolume_id(fd), _LIMIT_REFERENCED, most, 0, 0, 0)
        fcntl.ioctl(fd, _QGROUP_LIMIT, args)


def usage(path: Path) -> int:
    """Bytes that the subvolume `path` refers to, as of the last commit (at most 30 s ago).

    FileNotFoundError if quotas are off.
    """
    counted = _counted(path)
    if counted is None:
        raise FileNotFoundError(f"btrfs counts no quota for {path}")
    return counted.referenced


def exclusive(path: Path) -> int | None:
    """Bytes that no other subvolume or snapshot shares with `path`, which deleting it would free.

    As of the last commit (at most 30 s ago); None if quotas are off.
    """
    counted = _counted(path)
    return counted.exclusive if counted else None


def clean(fd: int) -> None:
    """Commit what was changed, and wake what deletes subvolumes, which else sleeps for 30 s."""
    # Not fcntl.ioctl, which holds the interpreter's lock, here until all is written out.
    libc.call("ioctl", fd, ctypes.c_ulong(_SYNC))


def is_cleaning(fd: int) -> bool:
    """Whether subvolumes that were deleted still have their blocks."""
    return any(True for _ in _search(fd, _ROOT_TREE, _ORPHANS, _ORPHAN_KEY, (0, _LAST)))


def unwritten(path: Path) -> int:
    """Bytes of data in memory, or not yet committed, that statvfs counts as free; 0: no btrfs."""
    with opened(path, os.O_DIRECTORY) as fd:  # the root may be named by a link
        if not is_btrfs(fd):
            return 0
        args = bytearray(1024)
        fcntl.ioctl(fd, _FS_INFO, args)
    data = Path("/sys/fs/btrfs", str(uuid.UUID(bytes=bytes(args[16:32]))), "allocation/data")
    try:
        return sum(int((data / f"bytes_{name}").read_bytes()) for name in ("may_use", "reserved"))
    except (OSError, ValueError):
        return 0  # mixed with the metadata, or no sysfs here


def differences(one: int, other: int) -> Iterator[tuple[int, int]]:
    """Where two open files have not the very same blocks: (begin, end), in order of begin.

    They may overlap, and be beyond the end of a file. What is not on the disk yet is not seen.
    Raises PermissionError without CAP_SYS_ADMIN.
    """
    begin = 0
    while begin < _LAST:
        ours, end = _extents(one, begin, _LAST)
        theirs: dict[int, bytes] = {}
        at = begin
        while at < end:
            more, at = _extents(other, at, end)
            theirs |= more
        changed = {place for place, what in ours.items() if theirs.get(place) != what}
        for place in sorted(changed | (theirs.keys() - ours.keys())):
            length = max(_BLOCKS.unpack(each[place])[0] for each in (ours, theirs) if place in each)
            yield place, place + length
        begin = end


def _extents(fd: int, low: int, high: int) -> tuple[dict[int, bytes], int]:
    """A file's extents that begin at `low` or behind it, but before the end that comes with them.

    By where they begin: where their data lies, and how. The end is `high`, or less if there are
    many.
    """
    answer = ctypes.create_string_buffer(_SEARCH_KEY_V2.size + _BATCH)
    inode, kind = os.fstat(fd).st_ino, _EXTENT_DATA_KEY
    key = (0, inode, inode, low, high - 1, 0, _LAST, kind, kind, _MANY, 0, _BATCH)
    _SEARCH_KEY_V2.pack_into(answer, 0, *key)
    # Not fcntl.ioctl, which holds the interpreter's lock.
    libc.call("ioctl", fd, ctypes.c_ulong(_TREE_SEARCH_V2), answer)
    count = _SEARCH_KEY_V2.unpack_from(answer)[9]
    items = memoryview(answer)[_SEARCH_KEY_V2.size :][: count * _EXTENT.size]
    if not set(_EXTENT_LENGTH.iter_unpack(items)) <= {(_NOT_INLINE,)}:
        raise OSError(errno.EOPNOTSUPP, "so small a file has no blocks")
    found = dict(_EXTENT.iter_unpack(items))
    is_all = len(items) + _EXTENT.size <= _BATCH
    return found, high if is_all else max(found) + 1


def _counted(path: Path) -> _Counted | None:
    with opened(path) as fd:
        group = _subvolume_id(fd)
        try:
            found = next(_search(fd, _QUOTA_TREE, 0, _QGROUP_INFO_KEY, (group, group)), None)
        except FileNotFoundError:
            return None
    if found is None:
        return None
    _, referenced, _, exclusive, _ = _QGROUP_INFO.unpack_from(found)
    return _Counted(referenced, exclusive)


def _vol_args(name: str) -> bytearray:
    return bytearray(_VOL_ARGS.pack(0, os.fsencode(name)))


def _lookup(fd: int, tree: int, inode: int) -> tuple[int, str]:
    """(the id of the subvolume, the path in it of the folder `inode`); tree 0 is that of `fd`."""
    args = bytearray(_LOOKUP_ARGS.pack(tree, inode, b""))
    fcntl.ioctl(fd, _INO_LOOKUP, args)
    found, _, path = _LOOKUP_ARGS.unpack(args)
    return found, os.fsdecode(path.partition(b"\0")[0])


def _subvolume_id(fd: int) -> int:
    return _lookup(fd, 0, _SUBVOLUME_INODE)[0]


def _path_of(fd: int, inode: int) -> str:
    return _lookup(fd, 0, inode)[1] or "."


def _children(fd: int) -> Iterator[_Child]:
    """The subvolumes in that of `fd`, but not those in them."""
    for item in _search(fd, _ROOT_TREE, _subvolume_id(fd), _ROOT_REF_KEY, (0, _LAST)):
        folder, _, length = _ROOT_REF.unpack_from(item)
        name = item[_ROOT_REF.size : _ROOT_REF.size + length]
        yield _Child(folder, os.fsdecode(name))


def _search(
    fd: int, tree: int, objectid: int, kind: int, offsets: tuple[int, int]
) -> Iterator[bytes]:
    """The items of one object and one kind whose key's offset lies within, in that order."""
    low, high = offsets
    while low <= high:
        args = bytearray(_SEARCH_SIZE)
        _SEARCH_KEY.pack_into(
            args, 0, tree, objectid, objectid, low, high, 0, _LAST, kind, kind, _MANY, 0
        )
        fcntl.ioctl(fd, _TREE_SEARCH, args)
        count, at = _SEARCH_KEY.unpack_from(args)[9], _SEARCH_KEY.size
        if not count:
            return
        for _ in range(count):
            _, _, offset, _, length = _SEARCH_HEADER.unpack_from(args, at)
            at += _SEARCH_HEADER.size
            yield bytes(args[at : at + length])
            at += length
            low = offset + 1
