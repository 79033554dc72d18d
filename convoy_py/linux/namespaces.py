"""What is mounted in any mount namespace, as the kernel itself lists it: where no process is, too.

Since kernel 6.12 nsfs leads from one namespace to the next, and listmount(2) and statmount(2) tell
the mounts of each (include/uapi/linux/nsfs.h and mount.h). No filesystem is asked, and no process.
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from convoy_py.linux import libc
from convoy_py.linux.descriptors import opened

# _IOR(0xb7, 10..12, struct mnt_ns_info), which is: size, number of mounts, id.
_NS_MNT_GET_INFO, _NS_MNT_GET_NEXT, _NS_MNT_GET_PREV = 0x8010B70A, 0x8010B70B, 0x8010B70C
_NAMESPACE = struct.Struct("=IIQ")

_STATMOUNT, _LISTMOUNT = 457, 458
_LSMT_ROOT = 2**64 - 1
# struct mnt_id_req: size, spare, id of the mount, param, id of the namespace.
_REQUEST = struct.Struct("=IIQQQ")

_SB_BASIC, _MNT_BASIC, _MNT_ROOT, _SB_SOURCE = 0x1, 0x2, 0x8, 0x200
_NEEDED = _SB_BASIC | _MNT_BASIC | _MNT_ROOT
# struct statmount: mask at 8, major and minor and magic at 16, both ids at 40, the place of the
# root at 104 and of the source at 124; both are counted from 512, and end with a zero.
_ANSWER = struct.Struct("=8xQIIQ8xQQ48xI16xI")
_STRINGS_AT = 512
_ANSWER_SIZE = 1 << 15
_MANY = 4096  # ids of mounts in one answer

_BTRFS = 0x9123683E
_TRIES = 4
_INITIAL_USER_NAMESPACE = "user:[4026531837]"  # USER_NS_INIT_INO
_CAP_SYS_ADMIN = 21


class Shown(NamedTuple):
    """A folder of a filesystem that is mounted somewhere; as the fields of a `Mount`.

    `source` is None where the kernel, before 6.13, does not tell that of a btrfs.
    """

    device: str
    root: str
    source: str | None


def shown_anywhere() -> set[Shown]:
    """All that is mounted in any mount namespace, hidden mounts included.

    Raises OSError if the kernel cannot tell that, does not tell all of it to us, or too much of it
    changed meanwhile.
    """
    if not _sees_all():
        raise PermissionError(errno.EPERM, "namespaces may be hidden from this process")
    found: set[Shown] = set()
    known: set[int] = set()
    # A namespace that was made meanwhile may have been passed by, for it may have a lower number.
    for _ in range(_TRIES):
        before = len(known)
        for namespace in _namespaces():
            if namespace not in known:
                found |= _steadily(namespace)
                known.add(namespace)
        if len(known) == before:
            return found
    raise BlockingIOError(errno.EAGAIN, "namespaces come too fast to be looked at")


@cache
def _sees_all() -> bool:
    """Whether none is left out: the kernel shows those of which we have the capability."""
    own = Path("/proc/self/ns/user").readlink()
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    (effective,) = (line for line in status.splitlines() if line.startswith("CapEff:"))
    return str(own) == _INITIAL_USER_NAMESPACE and bool(
        int(effective.split()[1], 16) >> _CAP_SYS_ADMIN & 1
    )


def _namespaces() -> Iterator[int]:
    """The id of every mount namespace, which stays while it is looked at."""
    with opened("/proc/self/ns/mnt", 0) as own:
        yield _ioctl(own, _NS_MNT_GET_INFO)[1]
        for direction in (_NS_MNT_GET_NEXT, _NS_MNT_GET_PREV):
            yield from _beyond(own, direction)


def _beyond(namespace: int, direction: int) -> Iterator[int]:
    last = os.dup(namespace)
    try:
        while True:
            following, number = _ioctl(last, direction)
            os.close(last)
            last = following
            yield number
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    finally:
        os.close(last)


def _ioctl(namespace: int, request: int) -> tuple[int, int]:
    """(a descriptor, if a namespace was asked for; the id of that namespace)."""
    answer = bytearray(_NAMESPACE.size)
    fd = fcntl.ioctl(namespace, request, answer)
    return fd, _NAMESPACE.unpack(answer)[2]


def _steadily(namespace: int) -> set[Shown]:
    """The mounts of a namespace; looked at again if one of them went away meanwhile."""
    for _ in range(_TRIES - 1):
        try:
            return _mounts(namespace)
        except FileNotFoundError:
            continue
    return _mounts(namespace)


def _mounts(namespace: int) -> set[Shown]:
    """All but the bottom one, the kernel's own, over which the others are mounted.

    What the kernel lists first is what a process would see, which may be a part of it: so go down
    from there, and list what is above the bottom.
    """
    answer = ctypes.create_string_buffer(_ANSWER_SIZE)
    listed = _listed(namespace, _LSMT_ROOT)
    if not listed:
        raise FileNotFoundError(errno.ENOENT, "no mount of a namespace is listed", str(namespace))
    bottom = listed[0]
    while (parent := _told(namespace, bottom, answer)[0]) != bottom:
        bottom = parent
    return {_told(namespace, mount, answer)[1] for mount in _listed(namespace, bottom)}


def _listed(namespace: int, below: int) -> list[int]:
    """The ids of all mounts below one, itself not included."""
    found: list[int] = []
    ids = ctypes.create_string_buffer(8 * _MANY)
    while True:
        last = found[-1] if found else 0
        request = _REQUEST.pack(_REQUEST.size, 0, below, last, namespace)
        count = libc.syscall(_LISTMOUNT, request, ids, _MANY, 0)
        found += struct.unpack_from(f"={count}Q", ids)
        if count < _MANY:
            return found


def _told(namespace: int, mount: int, answer: ctypes.Array[ctypes.c_char]) -> tuple[int, Shown]:
    """The id of a mount's parent, which of the bottom one is its own; and what it shows."""
    request = _REQUEST.pack(_REQUEST.size, 0, mount, _NEEDED | _SB_SOURCE, namespace)
    libc.syscall(_STATMOUNT, request, answer, _ANSWER_SIZE, 0)
    mask, major, minor, magic, _, parent, root, source = _ANSWER.unpack_from(answer)
    if mask & _NEEDED != _NEEDED:
        raise OSError(errno.ENODATA, "the kernel does not tell what a mount shows", str(mount))
    name = None if magic == _BTRFS else ""
    if mask & _SB_SOURCE:
        name = _string(answer, source)
    return parent, Shown(f"{major}:{minor}", _string(answer, root), name)


def _string(answer: ctypes.Array[ctypes.c_char], at: int) -> str:
    return os.fsdecode(ctypes.string_at(ctypes.addressof(answer) + _STRINGS_AT + at))
