"""Project quotas of ext4 and XFS: limits for a folder tree, by quotactl_fd(2); kernel 5.14."""

import ctypes
import errno
import stat
import struct
from contextlib import suppress
from pathlib import Path

from convoy_py.linux import fsxattr, libc, mounts
from convoy_py.linux.descriptors import opened
from convoy_py.linux.walk import Walk, every, regular

_QUOTACTL_FD = 443
_PROJECT = 2
_GETQUOTA = 0x800007
_SETQUOTA = 0x800008
_XGETQSTATV = (ord("X") << 8) + 8

_BLOCK_LIMITS, _INODE_LIMITS = 1, 4
_BLOCK = 1024
_ENFORCED = 1 << 5
_CAPABLE = ("ext4", "xfs")
_NO_QUOTA = (errno.ENOSYS, errno.ESRCH, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY)

# if_dqblk: hard and soft block limit (1 KiB), bytes, hard and soft inode limit, inodes, two times
# and which of these are valid; the pad makes it as long as the kernel thinks it is.
_DQBLK = struct.Struct("=8QI4x")
_STATV_SIZE = 256
_STATV_VERSION = 1

_INHERIT = 0x200


def support(path: Path) -> str | None:
    """None if project quotas are enforced where `path` lies, else the reason, in words."""
    answer = ctypes.create_string_buffer(_STATV_SIZE)
    answer[0] = bytes([_STATV_VERSION])
    try:
        with opened(path) as fd:
            _quotactl(fd, _XGETQSTATV, 0, answer)
    except OSError as error:
        if error.errno not in _NO_QUOTA:
            raise
    # ext4 may count without enforcing, which is of no use.
    if struct.unpack_from("=H", answer, 2)[0] & _ENFORCED:
        return None
    fstype = mounts.holding(path).fstype
    if fstype in _CAPABLE:
        return f"the {fstype} it lies on is not mounted with prjquota"
    return f"{fstype} has no project quotas"


def assign(path: Path, project_id: int, *, inherit: bool = True) -> None:
    """Make the folder `path` part of a project; what is created in it follows if `inherit`."""
    with opened(path) as fd:
        _assign(fd, project_id, inherit=inherit)


def assign_tree(path: Path, project_id: int) -> None:
    """Make all that is in the folder `path` part of a project, and what is created in it later.

    Follows no link, stays on the mount of `path` and leaves out what vanishes meanwhile. Links and
    special files have no such mark and stay as they are: of these only what is created in a
    folder of the project belongs to it.
    """
    with Walk.at(path) as walk:
        for name, found in every(walk):
            if stat.S_ISDIR(found.st_mode):
                _assign(walk.fd, project_id, inherit=True)
            elif stat.S_ISREG(found.st_mode):
                with suppress(FileNotFoundError), regular(walk.fd, name) as fd:
                    _assign(fd, project_id, inherit=False)


def project(path: Path) -> int:
    """The project that the folder `path` is part of; 0 if of none."""
    with opened(path) as fd:
        return fsxattr.read(fd).project


def set_limit(path: Path, project_id: int, limit: int | None, inodes: int | None = None) -> None:
    """Bound a project's bytes, to the kibibyte above, and its files; None lifts a bound.

    `path` is any in it. Going beyond a bound is EDQUOT or ENOSPC. On ext4 a process with
    CAP_SYS_RESOURCE, which containers do not have, may exceed it.
    """
    hard = 0 if limit is None else -(-limit // _BLOCK)
    quota = ctypes.create_string_buffer(
        _DQBLK.pack(hard, 0, 0, inodes or 0, 0, 0, 0, 0, _BLOCK_LIMITS | _INODE_LIMITS),
        _DQBLK.size,
    )
    with opened(path) as fd:
        _quotactl(fd, _SETQUOTA, project_id, quota)


def usage(path: Path, project_id: int) -> tuple[int, int]:
    """(bytes, files) that a project occupies; 0 for one that is not known."""
    quota = ctypes.create_string_buffer(_DQBLK.size)
    try:
        with opened(path) as fd:
            _quotactl(fd, _GETQUOTA, project_id, quota)
    except OSError as error:
        # XFS keeps nothing about a project that owns nothing.
        if error.errno == errno.ENOENT:
            return 0, 0
        raise
    found = _DQBLK.unpack(quota.raw)
    return found[2], found[5]


def _assign(fd: int, project_id: int, *, inherit: bool) -> None:
    found = fsxattr.read(fd)
    flags = found.flags | _INHERIT if inherit else found.flags & ~_INHERIT
    fsxattr.write(fd, found._replace(flags=flags, project=project_id))


def _quotactl(fd: int, command: int, project_id: int, answer: ctypes.Array[ctypes.c_char]) -> None:
    libc.syscall(_QUOTACTL_FD, fd, (command << 8) | _PROJECT, project_id, answer)
