"""Files: durable replacement, removal and measure of trees, reservation, locks and flags."""

import errno
import fcntl
import os
import secrets
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from convoy_py.linux import btrfs, libc, mounts

_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_IMMUTABLE = 0x10
_FS_GUARDS = _FS_IMMUTABLE | 0x20  # and append-only
_FS_NOCOW = 0x00800000

_SECTOR = 512
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def durable_replace(path: Path, data: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Make `data` the whole content of `path`: a reader sees the old or the new, never a mix.

    Survives a power cut on return, unless `durable` is off, as is right on a tmpfs.
    """
    with _opened(path.parent) as folder:
        temporary = f".{path.name}.{secrets.token_hex(6)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, mode, dir_fd=folder)
        try:
            try:
                _write(fd, data)
                os.fchmod(fd, mode)
                if durable:
                    os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise
        if durable:
            os.fsync(folder)


def fsync_dir(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    with _opened(path) as folder:
        os.fsync(folder)


def sync_filesystem(path: Path) -> None:
    """Write out all that is still unwritten on the filesystem on which the folder lies."""
    with _opened(path) as folder:
        libc.call("syncfs", folder, about=str(path))


def remove_tree(path: Path) -> None:
    """Delete a folder and all that is in it; does nothing if there is none.

    Follows no symbolic link. Refuses before it deletes anything (EBUSY) if something is mounted
    at or below `path`, and never crosses into a mount that appears later (EXDEV). A btrfs
    subvolume goes as a whole. What its user made immutable or append-only goes too.
    """
    _refuse_mounts(path)
    try:
        folder = os.open(path.parent, _FOLDER)
    except FileNotFoundError:
        return
    with _Walk(folder) as walk:
        try:
            on_btrfs = btrfs.is_btrfs(walk.fd)
            if _removed_at_once(walk.fd, path.name, on_btrfs=on_btrfs):
                return
            walk.down(path.name)
        except FileNotFoundError:
            return
        _empty(walk, on_btrfs=on_btrfs)
        walk.up()
        _forced(os.rmdir, walk.fd, path.name)


def disk_usage(path: Path) -> tuple[int, int]:
    """(bytes used, bytes allocated) by a tree; each file once, however many links it has.

    Stays on the filesystem of `path`; what vanishes while it looks does not count.
    """
    used = allocated = 0
    seen: set[tuple[int, int]] = set()
    with _Walk(os.open(path, _FOLDER)) as walk:
        for found in _every(walk):
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                if (found.st_dev, found.st_ino) in seen:
                    continue
                seen.add((found.st_dev, found.st_ino))
            used += found.st_size
            allocated += found.st_blocks * _SECTOR
    return used, allocated


def allocate(fd: int, size: int) -> None:
    """Give the file `size` bytes of real blocks; all or nothing: on ENOSPC it is empty again."""
    host = os.fstatvfs(fd)
    held = os.fstat(fd).st_blocks * _SECTOR
    if size - held > host.f_bavail * host.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError:
        os.ftruncate(fd, 0)
        raise


def lock_file(path: Path, text: str) -> int:
    """Take the exclusive lock that `path` stands for and write `text` into it, for others to read.

    The lock is held until the returned descriptor is closed. BlockingIOError carries the text of
    the one who has it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        _write(fd, text.encode())
    except BlockingIOError as error:
        holder = os.pread(fd, 4096, 0).decode(errors="backslashreplace").strip()
        os.close(fd)
        raise BlockingIOError(error.errno, holder, str(path)) from error
    except BaseException:
        os.close(fd)
        raise
    return fd


def set_nocow(fd: int) -> None:
    """Have btrfs overwrite this still empty file in place; elsewhere there is nothing to do."""
    if btrfs.is_btrfs(fd):
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("l", _flags(fd) | _FS_NOCOW))


def set_immutable(path: Path, on: bool) -> bool:
    """Set or clear chattr's +i on a file or folder; False if its filesystem has no such thing."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = _flags(fd)
        wanted = flags | _FS_IMMUTABLE if on else flags & ~_FS_IMMUTABLE
        if wanted != flags:
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("l", wanted))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL):
            return False
        raise
    finally:
        os.close(fd)
    return True


def _flags(fd: int) -> int:
    found: int = struct.unpack("l", fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8)))[0]
    return found


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


class _Walk:
    """A position in a tree, never outside the mount where it began.

    Holds one descriptor however deep it goes: users nest folders deeper than descriptors,
    path names and Python's stack reach. It owns the descriptor it is given.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._mount = mounts.mount_id(fd)
        self._above: list[tuple[int, int]] = []

    def __enter__(self) -> "_Walk":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def down(self, name: str) -> None:
        """Go into a folder; EXDEV if something is mounted there."""
        below = os.open(name, _FOLDER, dir_fd=self.fd)
        if mounts.mount_id(below) != self._mount:
            os.close(below)
            raise OSError(errno.EXDEV, "something is mounted here", name)
        self._above.append(_identity(self.fd))
        self._move(below)

    def up(self) -> None:
        """Go back; ESTALE if the folder was moved meanwhile, so that `..` is another."""
        above = os.open("..", _FOLDER, dir_fd=self.fd)
        if _identity(above) != self._above.pop():
            os.close(above)
            raise OSError(errno.ESTALE, "a folder was moved while it was being read")
        self._move(above)

    def _move(self, fd: int) -> None:
        os.close(self.fd)
        self.fd = fd


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _refuse_mounts(path: Path) -> None:
    for mount in mounts.below(path):
        raise OSError(errno.EBUSY, "something is mounted here", mount.mountpoint)


def _empty(walk: _Walk, *, on_btrfs: bool) -> None:
    """Delete all that is in the folder where `walk` stands, depth first; it ends where it began."""
    trail: list[str] = []
    pending = [_remove_files(walk.fd, on_btrfs=on_btrfs)]
    while True:
        if pending[-1]:
            trail.append(pending[-1].pop())
            walk.down(trail[-1])
            pending.append(_remove_files(walk.fd, on_btrfs=on_btrfs))
        elif trail:
            pending.pop()
            walk.up()
            _forced(os.rmdir, walk.fd, trail.pop())
        else:
            return


def _remove_files(folder: int, *, on_btrfs: bool) -> list[str]:
    """Delete what is no folder, and subvolumes; return the names of the folders that are left."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    folders = []
    for name, is_folder in found:
        if not is_folder:
            _forced(os.unlink, folder, name)
        elif not _removed_at_once(folder, name, on_btrfs=on_btrfs):
            folders.append(name)
    return folders


def _removed_at_once(folder: int, name: str, *, on_btrfs: bool) -> bool:
    if not (on_btrfs and btrfs.is_subvolume_at(folder, name)):
        return False
    _forced(_delete_subvolume, folder, name)
    return True


class _Deletion(Protocol):
    def __call__(self, name: str, /, *, dir_fd: int) -> None: ...


def _delete_subvolume(name: str, /, *, dir_fd: int) -> None:
    btrfs.delete_subvolume_at(dir_fd, name)


def _forced(delete: _Deletion, folder: int, name: str) -> None:
    """Delete `name` in a folder, though chattr's +i or +a may guard either."""
    try:
        delete(name, dir_fd=folder)
    except PermissionError:
        _unguard(folder)
        # Only these bear flags, and to open anything else could do harm.
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(name, flags, dir_fd=folder)
            try:
                _unguard(fd)
            finally:
                os.close(fd)
        delete(name, dir_fd=folder)


def _unguard(fd: int) -> None:
    flags = _flags(fd)
    if flags & _FS_GUARDS:
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("l", flags & ~_FS_GUARDS))


def _every(walk: _Walk) -> Iterator[os.stat_result]:
    """The stat of the folder where `walk` stands and of all that is in it."""
    pending: list[list[str]] = []
    entered = True
    while True:
        if entered:
            yield os.fstat(walk.fd)
            found, folders = _listing(walk.fd)
            yield from found
            pending.append(folders)
        if pending[-1]:
            entered = _entered(walk, pending[-1].pop())
        elif len(pending) > 1:
            entered = False
            pending.pop()
            walk.up()
        else:
            return


def _listing(folder: int) -> tuple[list[os.stat_result], list[str]]:
    """(the stat of what is no folder, the names of the folders)."""
    others, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                with suppress(FileNotFoundError):
                    others.append(entry.stat(follow_symlinks=False))
    return others, folders


def _entered(walk: _Walk, name: str) -> bool:
    try:
        walk.down(name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EXDEV):
            return False
        raise
    return True
