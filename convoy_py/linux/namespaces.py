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
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from threading import Lock

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


@dataclass(frozen=True, slots=True)
class Shown:
    """A folder of a filesystem that is mounted somewhere; as the fields of a `Mount`.

    `source` is None where the kernel, before 6.13, does not tell that of a btrfs.
    """

    device: str
    source: str | None
    namespace: int
    mount: int

    @property
    def root(self) -> str:
        """Asked of the kernel now, for folders are renamed; OSError if it is no longer mounted."""
        return _Told(self.namespace, self.mount, _MNT_ROOT).root


# Device and source of the mounts that the last look saw, by their ids, which the kernel gives to no
# others. Neither ever changes, but for the source of a btrfs, which is asked for each time.
_Kept = dict[int, tuple[str, str | None]]
_known: _Kept = {}
# One looks at a time. The last look, and when it began, counted with the questions.
_turn = Lock()
_moments = count()
_last: tuple[int, list[Shown]] = (-1, [])


def shown_anywhere() -> list[Shown]:
    """All that is mounted in any mount namespace, hidden mounts included.

    A mount costs a system call when it is seen for the first time; who asks while another looks
    shares the next look with all who do.
    Raises OSError if the kernel cannot tell that, does not tell all of it to us, or too much of it
    changed meanwhile.
    """
    global _last  # noqa: PLW0603
    asked = next(_moments)
    with _turn:
        if _last[0] < asked:
            _last = next(_moments), _look()
        return _last[1]


def _look() -> list[Shown]:
    global _known  # noqa: PLW0603
    if not _sees_all():
        raise PermissionError(errno.EPERM, "namespaces may be hidden from this process")
    found: list[Shown] = []
    seen: _Kept = {}
    known: set[int] = set()
    # A namespace that was made meanwhile may have been passed by, for it may have a lower number.
    for _ in range(_TRIES):
        before = len(known)
        for namespace in _namespaces():
            if namespace not in known:
                found += _steadily(namespace, seen)
                known.add(namespace)
        if len(known) == before:
            _known = seen
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


def _steadily(namespace: int, seen: _Kept) -> list[Shown]:
    """The mounts of a namespace; looked at again if one of them went away meanwhile."""
    for _ in range(_TRIES - 1):
        try:
            return _mounts(namespace, seen)
        except FileNotFoundError:
            continue
    return _mounts(namespace, seen)


def _mounts(namespace: int, seen: _Kept) -> list[Shown]:
    """All but the bottom one, the kernel's own, over which the others are mounted.

    What the kernel lists first is what a process would see, which may be a part of it: so go down
    from there, and list what is above the bottom. What stays as it is of them is `seen`.
    """
    first = _page(namespace, _LSMT_ROOT, 0, 1)
    if not first:
        raise FileNotFoundError(errno.ENOENT, "no mount of a namespace is listed", str(namespace))
    bottom = first[0]
    while (parent := _Told(namespace, bottom, _MNT_BASIC).parent) != bottom:
        bottom = parent
    return [
        Shown(*_kept(namespace, mount, seen), namespace, mount)
        for mount in _listed(namespace, bottom)
    ]


def _kept(namespace: int, mount: int, seen: _Kept) -> tuple[str, str | None]:
    """Device and source of a mount, asked for if the last look did not see it."""
    if (kept := _known.get(mount)) is None:
        told = _Told(namespace, mount, _SB_BASIC | _SB_SOURCE)
        kept = told.device, told.source
        if told.is_btrfs:
            return kept
    seen[mount] = kept
    return kept


def _listed(namespace: int, below: int) -> list[int]:
    """The ids of all mounts below one, itself not included."""
    found: list[int] = []
    while True:
        more = _page(namespace, below, found[-1] if found else 0, _MANY)
        found += more
        if len(more) < _MANY:
            return found


def _page(namespace: int, below: int, after: int, most: int) -> tuple[int, ...]:
    """At most so many of these ids, those after one of them."""
    ids = ctypes.create_string_buffer(8 * most)
    request = _REQUEST.pack(_REQUEST.size, 0, below, after, namespace)
    listed = libc.syscall(_LISTMOUNT, request, ids, most, 0)
    return struct.unpack_from(f"={listed}Q", ids)


class _Told:
    """What statmount(2) tells of a mount: what it was asked for, but for the source."""

    def __init__(self, namespace: int, mount: int, wanted: int) -> None:
        self._answer = ctypes.create_string_buffer(_ANSWER_SIZE)
        request = _REQUEST.pack(_REQUEST.size, 0, mount, wanted, namespace)
        libc.syscall(_STATMOUNT, request, self._answer, _ANSWER_SIZE, 0)
        mask, major, minor, magic, _, parent, root, source = _ANSWER.unpack_from(self._answer)
        if wanted & ~mask & ~_SB_SOURCE:
            raise OSError(errno.ENODATA, "the kernel does not tell what a mount shows", str(mount))
        self.device, self.is_btrfs = f"{major}:{minor}", magic == _BTRFS
        self.parent = parent  # its id, which of the bottom one is its own
        self.root = self._string(root) if mask & _MNT_ROOT else ""
        self.source = None if self.is_btrfs else ""
        if mask & _SB_SOURCE:
            self.source = self._string(source)

    def _string(self, at: int) -> str:
        return os.fsdecode(ctypes.string_at(ctypes.addressof(self._answer) + _STRINGS_AT + at))
