"""What the kernel tells of a tree of files, gathered without the code under test."""

import hashlib
import os
import stat
import struct
from pathlib import Path
from typing import NamedTuple


class Facts(NamedTuple):
    mode: int
    owner: tuple[int, int]
    device: int
    mtime_ns: int
    xattrs: dict[str, bytes]
    content: bytes
    first_name: str


def facts(top: Path) -> dict[str, Facts]:
    """All of each file and folder that a copy must keep, by relative path; "." is the top."""
    paths = [top]
    for folder, folders, others in os.walk(top):
        paths += [Path(folder, name) for name in (*folders, *others)]
    first_names: dict[int, str] = {}
    found = {}
    for path in sorted(paths):
        name, stats = str(path.relative_to(top)), path.lstat()
        found[name] = Facts(
            stats.st_mode,
            (stats.st_uid, stats.st_gid),
            stats.st_rdev,
            stats.st_mtime_ns,
            _xattrs(path),
            _content(path, stats.st_mode),
            first_names.setdefault(stats.st_ino, name),
        )
    return found


def acl(*entries: tuple[int, int, int]) -> bytes:
    """A POSIX ACL as the kernel has it, of (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


_NOBODY = 2**32 - 1
# user::rw-, user:1234:rw-, group::r--, mask::rw-, other::---
SOME_ACL = acl(
    (1, 6, _NOBODY), (2, 6, 1234), (4, 4, _NOBODY), (0x10, 6, _NOBODY), (0x20, 0, _NOBODY)
)


def nest(top: Path, depth: int) -> None:
    """Make `depth` folders called "d", each in the one before, with a file in the last."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    file = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.write(file, b"at the end")
    os.close(file)
    os.close(fd)


def _content(path: Path, mode: int) -> bytes:
    if stat.S_ISLNK(mode):
        return os.fsencode(os.readlink(path))
    return hashlib.sha256(path.read_bytes()).digest() if stat.S_ISREG(mode) else b""


def _xattrs(path: Path) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    # The host's labels, and ACLs that xfs shows twice.
    names = [n for n in names if not n.startswith(("security.selinux", "trusted.SGI_ACL_"))]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
