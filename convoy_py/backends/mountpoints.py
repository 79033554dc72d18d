"""Makes and removes the empty folders on which volumes are mounted.

A mountpoint refuses writes while nothing is mounted on it, so that data can never land beside the
volume: mode 0 stops everyone but root, the immutable flag (where the filesystem has it) root too.

A managed plugin has no such flag, for then `docker plugin rm` would fail, and an engine that comes
back after a crash may unmount what the plugin mounts just then. There mountpoints lie in a folder
called GUARDED, on a filesystem that is full: it goes with the mounts on it, and then a container
finds no folder, and does not start; and what of it shows for a moment takes no data.
"""

import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convoy_py.errors import Unavailable
from convoy_py.linux import files, mounts
from convoy_py.linux.descriptors import closing, opened

GUARDED = "guarded"

_PRIVATE = ".new-"
_FULL = ".full"  # what fills it: a page, which is the least that such a filesystem can have
_GUARD = ("nosuid", "nodev", "noexec", "mode=0700", "size=1")
_guarding = threading.Lock()
# Together 5 s: on a busy host a process may wait long for its turn.
_ATTEMPTS, _LOOK_SECONDS = 1000, 0.005


def is_guarded(folder: Path) -> bool:
    """Whether mountpoints are made as in a managed plugin, on a filesystem that is full."""
    return folder.name == GUARDED


def make_folder(folder: Path) -> None:
    """Make the folder in which mountpoints are made; does nothing if it is there."""
    if is_guarded(folder):
        with _guarded(folder):
            return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def beneath(folder: Path) -> Path:
    """A folder on the mount on which that of mountpoints lies, by which they propagate."""
    return folder.parent if is_guarded(folder) else folder


@contextmanager
def _guarded(folder: Path) -> Iterator[int]:
    """The open top of the full filesystem at `folder`, which is mounted unless it is there."""
    with _guarding:
        if not mounts.is_mountpoint(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mounts.mount("convoy", folder, "tmpfs", _GUARD)
        with opened(folder) as top:
            if not _is_full(top):
                if not mounts.is_mountpoint(folder):  # this is what lay beneath
                    raise Unavailable(f"{folder} was unmounted by another program; try again")
                _fill(top)
            yield top


def _is_full(folder: int) -> bool:
    return os.fstatvfs(folder).f_bfree == 0


def _fill(folder: int) -> None:
    flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with closing(os.open(_FULL, flags, 0o600, dir_fd=folder)) as file:
        os.write(file, bytes(os.sysconf("SC_PAGE_SIZE")))


def make(path: Path) -> None:
    """Make the mountpoint, if it is not there; nothing may be mounted on it."""
    if is_guarded(path.parent):
        with _guarded(path.parent) as folder, suppress(FileExistsError):
            os.mkdir(path.name, mode=0o000, dir_fd=folder)
        return
    try:
        path.mkdir(mode=0o000, parents=True)
    except FileExistsError:
        return
    files.set_immutable(path, on=True)


@contextmanager
def private(near: Path) -> Iterator[Path]:
    """A mountpoint of which nobody knows, beside another, while the block runs.

    What is mounted there is unmounted at its end. It bears a name that no volume can have: what
    a crash leaves of it is swept by the next start.
    """
    path = near.parent / f"{_PRIVATE}{secrets.token_hex(8)}"
    make(path)
    try:
        yield path
    finally:
        if mounts.is_mountpoint(path):
            _unmount_patiently(path)
        remove(path)


def _unmount_patiently(path: Path) -> None:
    """Unmount what nobody else knows of, and what is busy for a moment all the same.

    A program that another thread starts has copies of our open files until it is executed.
    """
    for _ in range(_ATTEMPTS):
        if mounts.unmount_unless_busy(path):
            return
        time.sleep(_LOOK_SECONDS)
    mounts.unmount(path)


def is_one(path: Path) -> bool:
    """Whether a folder is a mountpoint of ours on which nothing is mounted: by its guard."""
    return path.is_dir() and stat.S_IMODE(path.stat().st_mode) == 0


def remove(path: Path) -> None:
    """Remove the mountpoint; nothing may be mounted on it. A missing one is fine."""
    try:
        files.set_immutable(path, on=False)
        path.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        # Someone put something there before it was guarded, or mounted on it just now: it stays.
        # What is guarded and mounted on says EPERM, for its guard could not be reached.
        if error.errno not in (errno.ENOTEMPTY, errno.EBUSY, errno.EPERM):
            raise
