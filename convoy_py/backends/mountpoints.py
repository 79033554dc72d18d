"""Makes and removes the empty folders on which volumes are mounted.

A mountpoint refuses writes while nothing is mounted on it, so that data can never land beside the
volume: mode 0 stops everyone but root, the immutable flag (where the filesystem has it) root too.
"""

import errno
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convoy_py.linux import files, mounts

_PRIVATE = ".new-"
# Together 5 s: on a busy host a process may wait long for its turn.
_ATTEMPTS, _LOOK_SECONDS = 1000, 0.005


def make(path: Path) -> None:
    """Make the mountpoint, if it is not there; nothing may be mounted on it."""
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
