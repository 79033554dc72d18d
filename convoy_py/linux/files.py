"""Files: durable replacement, removal and measure of trees, reservation, locks and flags."""

import errno
import fcntl
import os
import secrets
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from convoy_py.linux import btrfs, libc, mounts
from convoy_py.linux.descriptors import closing, opened
from convoy_py.linux.walk import FOLDER, Walk, every, regular

_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_IMMUTABLE = 0x10
_FS_GUARDS = _FS_IMMUTABLE | 0x20  # and append-only
_FS_NOCOW = 0x00800000
# The filesystem has no flags, or not these.
_NO_FLAGS = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL)

_SECTOR = 512

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class Unsettled(OSError):
    """What was to be changed is changed, but that may not survive a power cut, or not all of it."""

    @classmethod
    def after(cls, error: OSError, where: Path) -> "Unsettled":
        """What failed after the change."""
        return cls(error.errno, error.strerror or str(error), str(where))


def durable_replace(path: Path, data: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Make `data` the whole content of `path`: a reader sees the old or the new, never a mix.

    Survives a power cut on return, unless `durable` is off, as is right on a tmpfs. Raises
    Unsettled if it has the new content, but may not have it after a power cut.
    """
    with opened(path.parent, os.O_DIRECTORY) as folder:
        temporary = f".{path.name}.{secrets.token_hex(6)}"
        _make(temporary, data, mode, folder, durable=durable)
        try:
            os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise
        # The point of no return: who reads it has the new content from here on.
        if durable:
            try:
                os.fsync(folder)
            except OSError as error:
                raise Unsettled.after(error, path) from error


def durable_make(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Make a file that is not there yet, where nobody reads it before this returns.

    Until then it may lack content, but to sync it and its name costs one commit of a journal, and
    a replacement two. Survives a power cut on return.
    """
    with opened(path.parent, os.O_DIRECTORY) as folder:
        _make(path.name, data, mode, folder, durable=True)
        os.fsync(folder)


def _make(name: str, data: bytes, mode: int, folder: int, *, durable: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with closing(os.open(name, flags, mode, dir_fd=folder)) as fd:
        try:
            _write(fd, data)
            os.fchmod(fd, mode)
            if durable:
                os.fsync(fd)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            raise


def fsync_dir(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    with opened(path, os.O_DIRECTORY) as folder:
        os.fsync(folder)


def durable_folder(path: Path) -> None:
    """Make a folder, of mode 0700, that is there after a power cut, unless it is there already."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        fsync_dir(path.parent)


def sync_filesystem(path: Path) -> None:
    """Write out all that is still unwritten on the filesystem on which the folder lies."""
    with opened(path, os.O_DIRECTORY) as folder:
        libc.call("syncfs", folder, about=str(path))


def exchange(one: Path, other: Path) -> None:
    """Let two files or folders of one filesystem trade names, so that neither is ever missing.

    It is for the caller to make that durable. Raises OSError: ENOENT, EXDEV, and EINVAL where the
    filesystem cannot (NFS).
    """
    names = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    libc.call("renameat2", *names, _RENAME_EXCHANGE, about=f"{one} and {other}")


def remove_tree(path: Path) -> None:
    """Delete a folder and all that is in it; does nothing if there is none.

    Follows no symbolic link. Refuses before it deletes anything (EBUSY) if something is mounted
    at or below `path`, and never crosses into a mount that appears later (EXDEV). A btrfs
    subvolume goes as a whole. What its user made immutable or append-only goes too.
    """
    _refuse_mounts(path)
    try:
        folder = os.open(path.parent, FOLDER)
    except FileNotFoundError:
        return
    with closing(folder):
        remove_tree_at(folder, path.name)


def remove_tree_at(folder: int, name: str) -> None:
    """The same for `name` in a folder open for reading, without the first look for mounts."""
    with Walk(os.dup(folder)) as walk:
        try:
            on_btrfs = btrfs.is_btrfs(walk.fd)
            if _removed_at_once(walk.fd, name, on_btrfs=on_btrfs):
                return
            walk.down(name)
        except FileNotFoundError:
            return
        _empty(walk, on_btrfs=on_btrfs)
        walk.up()
        _forced(os.rmdir, walk.fd, name)


def disk_usage(path: Path, is_late: Callable[[], bool] = bool) -> tuple[int, int]:
    """(bytes used, bytes allocated) by a tree; each file once, however many links it has.

    What is used is the files' content without their holes. Stays on the filesystem of `path`; what
    vanishes while it looks does not count, nor what it has not come to when it gets late.
    """
    used = allocated = 0
    with Walk.at(path) as walk:
        for _, found in every(walk):
            used += content(found)
            allocated += found.st_blocks * _SECTOR
            if is_late():
                break
    return used, allocated


def content(found: os.stat_result) -> int:
    """How many bytes a file has: of a regular one its holes do not count, however long it is."""
    if stat.S_ISREG(found.st_mode):
        return min(found.st_size, found.st_blocks * _SECTOR)
    return found.st_size


def regular_files(path: Path) -> Iterator[int]:
    """Each regular file of a tree, open for reading until the next one is asked for.

    Each once, however many links it has; stays on the filesystem of `path`; what vanishes while
    it looks is left out.
    """
    with Walk.at(path) as walk:
        for name, found in every(walk):
            if stat.S_ISREG(found.st_mode):
                with suppress(FileNotFoundError), regular(walk.fd, name) as fd:
                    yield fd


def allocate(fd: int, size: int) -> None:
    """Give the file `size` bytes of real blocks; on ENOSPC it is as long as before."""
    host, before = os.fstatvfs(fd), os.fstat(fd)
    if size - before.st_blocks * _SECTOR > host.f_bavail * host.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError:
        os.ftruncate(fd, before.st_size)
        raise


def has_room(folder: Path, size: int) -> bool:
    """Whether so many bytes could be written there now, also under a quota; tried out."""
    host = os.statvfs(folder)
    if host.f_bavail * host.f_frsize < size:
        return False
    try:
        with closing(os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)) as fd:
            os.posix_fallocate(fd, 0, size)
    except OSError as error:
        return error.errno not in (errno.ENOSPC, errno.EDQUOT)
    return True


def lock_file(path: Path, text: str, *, shared: bool = False) -> int:
    """Take the lock that `path` stands for and write `text` into it, for others to read.

    It is exclusive, or `shared` with others who have it so. It lasts until the returned descriptor
    is closed; on a full disk it has no text. BlockingIOError carries the text of who has it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        _label(fd, text)
    except BlockingIOError as error:
        theirs = os.pread(fd, 4096, 0).decode(errors="backslashreplace").strip()
        os.close(fd)
        raise BlockingIOError(error.errno, theirs, str(path)) from error
    except BaseException:
        os.close(fd)
        raise
    return fd


def _label(fd: int, text: str) -> None:
    try:
        os.ftruncate(fd, 0)
        _write(fd, text.encode())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def set_nocow(fd: int) -> None:
    """Have btrfs overwrite this still empty file in place; elsewhere there is nothing to do."""
    if btrfs.is_btrfs(fd):
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("l", _flags(fd) | _FS_NOCOW))


def is_nocow(fd: int) -> bool:
    """Whether btrfs overwrites this file in place."""
    return btrfs.is_btrfs(fd) and bool(_flags(fd) & _FS_NOCOW)


def guards(fd: int) -> int:
    """Which of chattr's +i and +a an open file or folder bears, as the kernel's bits."""
    try:
        return _flags(fd) & _FS_GUARDS
    except OSError as error:
        if error.errno in _NO_FLAGS:
            return 0
        raise


def set_guards(fd: int, wanted: int) -> None:
    """Give an open file or folder what `guards` told of another, if its filesystem has such."""
    if not wanted:
        return
    try:
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("l", _flags(fd) | wanted))
    except OSError as error:
        if error.errno not in _NO_FLAGS:
            raise


def set_immutable(path: Path, on: bool) -> bool:
    """Set or clear chattr's +i on a file or folder; False if its filesystem has no such thing."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = _flags(fd)
        wanted = flags | _FS_IMMUTABLE if on else flags & ~_FS_IMMUTABLE
        if wanted != flags:
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("l", wanted))
    except OSError as error:
        if error.errno in (*_NO_FLAGS, errno.EPERM):
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


def _refuse_mounts(path: Path) -> None:
    for mount in mounts.below(path):
        raise OSError(errno.EBUSY, "something is mounted here", mount.mountpoint)


def _empty(walk: Walk, *, on_btrfs: bool) -> None:
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
