"""Mounts: the kernel's table of them, read exactly, and mount(2) and umount2(2)."""

import ctypes
import errno
import os
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from convoy_py.linux import libc
from convoy_py.linux.descriptors import closing

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8

_FLAGS = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "sync": 16,
    "mand": 64,
    "dirsync": 128,
    "nosymfollow": 256,
    "noatime": 1024,
    "nodiratime": 2048,
    "silent": 1 << 15,
    "relatime": 1 << 21,
    "strictatime": 1 << 24,
    "lazytime": 1 << 25,
}
# Those that a mount has of its own, as mount_setattr(2) has them.
_ATTRIBUTES = {
    "ro": 0x1,
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "nodiratime": 0x80,
    "nosymfollow": 0x200000,
}
_OFF = 0x8F  # of these, what is off unless it is asked for
_ATIMES, _ATIME = {"relatime": 0x0, "noatime": 0x10, "strictatime": 0x20}, 0x70  # one of them
# What the kernel does anyway unless told otherwise: it knows no flag for these.
_DEFAULTS = frozenset({"rw", "suid", "dev", "exec", "async", "defaults", "nolazytime"})

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE = 1
_FROM_TREE = 4  # MOVE_MOUNT_F_EMPTY_PATH
_MOUNT_ATTR = struct.Struct("=4Q")  # set, clear, propagation, a user namespace
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_NO_AUTOMOUNT = 0x800
_AT_EMPTY_PATH = 0x1000
# What is asked here the kernel knows without its filesystem, which may not answer.
_AT_STATX_DONT_SYNC = 0x4000
_STATX_MNT_ID, _STATX_MNT_ID_UNIQUE = 0x1000, 0x4000
_STATX_ATTR_MOUNT_ROOT = 0x2000
# struct statx: mask at 0, attributes at 8, the id of the mount at 144.
_STATX = struct.Struct("=I4xQ128xQ")
_STATX_SIZE = 256

_MOUNTPOINT = 4  # the field of a line that names it
_SPECIAL = re.compile(rb"[ \t\n\\]")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo, see proc(5); paths are unescaped and as seen from that process.

    `device` is "major:minor"; `root` the folder of the filesystem that is mounted here;
    `peer_group` and `master` are the groups with which and from which it propagates, 0 for none.
    """

    mount_id: int
    parent_id: int
    device: str
    root: str
    mountpoint: str
    options: tuple[str, ...]
    peer_group: int
    master: int
    fstype: str
    source: str
    super_options: tuple[str, ...]

    @property
    def shared(self) -> bool:
        """Whether mounts made on it appear in other mount namespaces."""
        return self.peer_group != 0


def table(pid: int | str = "self") -> list[Mount]:
    """Every mount in the mount namespace of a process that its root folder lets it see.

    Raises OSError: ProcessLookupError or FileNotFoundError if the process has ended.
    """
    return list(_parsed(read(pid).split(b"\n")))


def read(pid: int | str = "self") -> bytes:
    """The raw mountinfo of a process; for those who search before they parse."""
    return Path(f"/proc/{pid}/mountinfo").read_bytes()


def lines_with(text: bytes, needle: bytes) -> list[Mount]:
    """Those mounts of a raw mountinfo in whose line `needle` occurs; the rest are not parsed.

    A needle may begin with a newline, to match at the start of a line but the first.
    """
    return list(_parsed(_lines(text, needle)))


def needle(device: str, root: str) -> bytes:
    """What every line has of a mount of a folder of a filesystem, or of a folder in that one."""
    return b" %b %b" % (device.encode(), _escaped(root))


class Covers:
    """What lies on which mount, by the names alone: no filesystem is asked."""

    def __init__(self) -> None:
        lines = (line for line in read().split(b"\n") if line)
        # Of several at one mountpoint the topmost comes last.
        self._lines = {line.split(b" ", _MOUNTPOINT + 1)[_MOUNTPOINT]: line for line in lines}
        self._parsed: dict[bytes, Mount | None] = {}  # those that were asked for, of many

    def of(self, path: str) -> Mount | None:
        """The mount on which a whole path without symbolic links lies; None if none is seen."""
        at = _escaped(path).rstrip(b"/")
        while at and at not in self._lines:
            at = at.rpartition(b"/")[0]
        line = self._lines.get(at or b"/", b"")
        if line not in self._parsed:
            self._parsed[line] = next(_parsed((line,)), None)
        return self._parsed[line]


def find(mountpoint: Path) -> Mount | None:
    """The topmost mount exactly at `mountpoint`, a path without symbolic links; None if none is.

    One system call if nothing is mounted there, however many mounts there are.
    """
    mount_id, is_root = _at(mountpoint)
    return _by_id(mount_id) if is_root else None


def is_mountpoint(path: Path) -> bool:
    """Whether something is mounted exactly at `path`; one system call, whatever else is mounted."""
    return _at(path)[1]


def lasting_id(path: Path) -> int | None:
    """An id of what is mounted exactly at `path` that no other mount ever gets; one system call.

    None if nothing is mounted there, or what was shut down, and before Linux 6.8: `mount_id` of a
    Mount is given anew.
    """
    try:
        mask, found, is_root = _statx(
            _AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, _STATX_MNT_ID_UNIQUE
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return None
    return found if is_root and mask & _STATX_MNT_ID_UNIQUE else None


def below(path: Path) -> list[Mount]:
    """Every mount at `path` or below it; the last part of `path` is not followed."""
    top = str(path.parent.resolve() / path.name)
    found = lines_with(read(), b" " + _escaped(top))
    return [m for m in found if m.mountpoint == top or m.mountpoint.startswith(f"{top}/")]


def holding(path: Path) -> Mount:
    """The mount on which `path` lies, a symbolic link not followed."""
    _, mount_id, _ = _statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW)
    mount = _by_id(mount_id)
    if mount is None:
        raise FileNotFoundError(f"the mount that holds {path} is not in /proc/self/mountinfo")
    return mount


def position(fd: int) -> tuple[Mount, PurePosixPath]:
    """The mount through which a folder was opened, and its path from the top of the filesystem.

    With the mount's device that path is alike wherever the folder is shown.
    """
    mount = _by_id(mount_id(fd))
    path = PurePosixPath(Path(f"/proc/self/fd/{fd}").readlink())
    if mount is None or not path.is_relative_to(mount.mountpoint):
        raise FileNotFoundError(f"the mount that holds {path} is not in /proc/self/mountinfo")
    return mount, PurePosixPath(mount.root) / path.relative_to(mount.mountpoint)


def beside(folder: Path, paths: Iterable[Path]) -> list[Path]:
    """Those of `paths`, absolute and without symbolic links, on the filesystem of `folder`.

    By the mount table alone, so that none that hangs is touched.
    """
    device = holding(folder).device
    devices = {mount.mountpoint: mount.device for mount in table()}  # the last one is on top
    return [
        path
        for path in paths
        if next(devices[str(at)] for at in (path, *path.parents) if str(at) in devices) == device
    ]


def mount_id(fd: int) -> int:
    """The id of the mount through which `fd` was opened."""
    return _statx(fd, b"", _AT_EMPTY_PATH)[1]


def reaches(pid: int, peer_group: int) -> bool:
    """Whether a process sees what is mounted in a peer group; also if it has just ended."""
    try:
        text = read(pid)
    except OSError:
        return True
    return any(b" %b:%d " % (how, peer_group) in text for how in (b"shared", b"master"))


def mount(source: Path | str, target: Path, fstype: str, options: Iterable[str]) -> None:
    """Make a filesystem appear at `target`.

    An option that is no flag of mount(2) goes to the filesystem as its data.
    """
    flags, data = _split(options)
    _mount(str(source), target, fstype, flags, ",".join(data))


def bind(source: Path, target: Path, options: Iterable[str]) -> None:
    """Show `source` at `target` too, under flags of its own (such as nosuid); both or neither.

    It has them before it is there: what propagates would else be seen by others without, for good.
    Kernel 5.12.
    """
    asked = set(options)
    if unknown := asked - _FLAGS.keys() - _DEFAULTS:
        raise OSError(f"a bind mount does not take the options {','.join(sorted(unknown))}")
    on = sum(_ATTRIBUTES[option] for option in asked & _ATTRIBUTES.keys())
    off = _OFF & ~on
    if atimes := [_ATIMES[option] for option in asked & _ATIMES.keys()]:
        on, off = on | max(atimes), off | _ATIME
    place, flag = os.fsencode(source), _OPEN_TREE_CLONE | os.O_CLOEXEC
    with closing(libc.syscall(_OPEN_TREE, _AT_FDCWD, place, flag, about=str(source))) as tree:
        request = _MOUNT_ATTR.pack(on, off, 0, 0)
        libc.syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, request, len(request))
        at = os.fsencode(target)
        libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, at, _FROM_TREE, about=str(target))


def unmount(target: Path) -> None:
    """Take away the topmost mount at `target`; EBUSY while something uses it. Never lazy."""
    libc.call("umount2", os.fsencode(target), _UMOUNT_NOFOLLOW, about=str(target))


def unmount_unless_busy(target: Path) -> bool:
    """The same; False, without an error, while something uses it."""
    try:
        unmount(target)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def detach(mountpoint: str) -> None:
    """Take a mount out of this namespace at once, and away when nothing uses it any more."""
    flags = _UMOUNT_NOFOLLOW | _MNT_DETACH
    libc.call("umount2", os.fsencode(mountpoint), flags, about=mountpoint)


def drop_copies(folder: Path) -> list[str]:
    """Take away what this namespace has twice of the mount that holds `folder`; where that was.

    Below its own folder on the host a managed plugin that starts finds copies of what an earlier
    one mounted. They lie on a private mount (runc makes it so), so unlike the host's own they stay
    when the volume is unmounted, and would hold its device. Only a bind mount of a folder, such as
    an engine gives its plugin, is looked at; nothing that propagates is touched.
    """
    own = holding(folder)
    dropped: list[str] = []
    # One may cover another.
    while own.root != "/" and (copy := next(_visible_copies(own), None)):
        detach(copy.mountpoint)
        dropped += [copy.mountpoint]
    return dropped


def _visible_copies(own: Mount) -> Iterator[Mount]:
    """Mounts that cover the folder which `own` shows, or one in it, elsewhere and for us alone."""
    all_mounts = {mount.mount_id: mount for mount in table()}
    for mount in all_mounts.values():
        under = all_mounts.get(mount.parent_id)
        path = PurePosixPath(mount.mountpoint)
        if under is None or under.shared or under.device != own.device:
            continue
        if path.is_relative_to(own.mountpoint) or not path.is_relative_to(under.mountpoint):
            continue
        place = PurePosixPath(under.root, path.relative_to(under.mountpoint))
        if place.is_relative_to(own.root) and _at(Path(path)) == (mount.mount_id, True):
            yield mount


def _mount(source: str, target: Path, fstype: str, flags: int, data: str) -> None:
    libc.call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        fstype.encode(),
        flags,
        data.encode(),
        about=str(target),
    )


def _split(options: Iterable[str]) -> tuple[int, list[str]]:
    flags, data = 0, []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option not in _DEFAULTS:
            data.append(option)
    return flags, data


def _at(path: Path) -> tuple[int, bool]:
    """(id of the mount on which `path` lies, whether it is its root); 0 if there is no `path`."""
    try:
        return _statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW)[1:]
    except (FileNotFoundError, NotADirectoryError):
        return 0, False
    except OSError as error:
        # So answers a filesystem that was shut down, and that is to be unmounted.
        found = Covers().of(str(path)) if error.errno == errno.EIO else None
        if found is None or found.mountpoint != str(path):
            raise
        return found.mount_id, True


def _statx(fd: int, path: bytes, flags: int, wanted: int = _STATX_MNT_ID) -> tuple[int, int, bool]:
    """(what is told, mount id, whether it is the root of that mount); kernel 5.8 or newer."""
    answer = ctypes.create_string_buffer(_STATX_SIZE)
    flags |= _AT_NO_AUTOMOUNT | _AT_STATX_DONT_SYNC
    libc.call("statx", fd, path, flags, wanted, answer, about=os.fsdecode(path))
    mask, attributes, found = _STATX.unpack_from(answer)
    return mask, found, bool(attributes & _STATX_ATTR_MOUNT_ROOT)


def _lines(text: bytes, needle: bytes) -> Iterator[bytes]:
    start = text.find(needle)
    while start >= 0:
        last = start + len(needle) - 1
        begin = text.rfind(b"\n", 0, last) + 1
        end = text.find(b"\n", last)
        if end == -1:
            end = len(text)
        yield text[begin:end]
        start = text.find(needle, end)


def _by_id(mount_id: int) -> Mount | None:
    text = b"\n" + read()
    found = lines_with(text, b"\n%d " % mount_id)
    return found[0] if found else None


def _parsed(lines: Iterable[bytes]) -> Iterator[Mount]:
    """A line that is not as proc(5) has it says nothing, and must not hide what the others say."""
    for line in lines:
        with suppress(ValueError):
            yield _parse(line)


def _parse(line: bytes) -> Mount:
    before, _, after = line.partition(b" - ")
    mount_id, parent_id, device, root, mountpoint, options, *optional = before.split(b" ")
    fstype, source, super_options = after.split(b" ", 2)
    tags = dict(tag.split(b":") for tag in optional if b":" in tag)
    return Mount(
        mount_id=int(mount_id),
        parent_id=int(parent_id),
        device=device.decode(),
        root=_unescaped(root),
        mountpoint=_unescaped(mountpoint),
        options=tuple(_unescaped(options).split(",")),
        peer_group=int(tags.get(b"shared", 0)),
        master=int(tags.get(b"master", 0)),
        fstype=_unescaped(fstype),
        source=_unescaped(source),
        super_options=tuple(_unescaped(super_options).split(",")),
    )


def _escaped(path: str) -> bytes:
    return _SPECIAL.sub(lambda match: b"\\%03o" % match[0][0], os.fsencode(path))


def _unescaped(field: bytes) -> str:
    if b"\\" in field:
        field = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field)
    return os.fsdecode(field)
