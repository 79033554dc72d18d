"""Folders below a trusted one, reached without a link or a way out, whoever renames meanwhile."""

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from convoy_py.linux import libc
from convoy_py.linux.descriptors import closing

_OPENAT2 = 437
_NO_SYMLINKS, _BENEATH = 4, 8  # the first one implies those of /proc
_HOW = struct.Struct("=3Q")  # open_how: flags, mode, resolve

_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC
# The kernel saw a rename on the way of `..` or could not rule one out, and asks for another try.
_ATTEMPTS = 100


@contextmanager
def opened(top: Path, relative: PurePath, flags: int = os.O_PATH) -> Iterator[int]:
    """A descriptor on the folder `relative` below `top`; links are followed in `top` alone.

    O_PATH unless `flags` say otherwise. Raises OSError: ELOOP for a link on the way, EXDEV for a
    way out, ENOENT, ENOTDIR. Kernel 5.6.
    """
    with (
        closing(os.open(top, os.O_PATH | _FOLDER)) as folder,
        closing(open_at(folder, relative, flags | _FOLDER)) as found,
    ):
        yield found


@contextmanager
def made(top: Path, relative: PurePath) -> Iterator[int]:
    """The same folder, open for reading, made with mode 0755 if it is missing; its parent is not.

    What was made is removed again if the block fails.
    """
    with opened(top, relative.parent) as parent:
        is_new = _make(parent, relative.name)
        try:
            with closing(open_at(parent, PurePath(relative.name), _FOLDER)) as found:
                if is_new:
                    os.fchmod(found, 0o755)  # whatever the umask
                yield found
            if is_new:
                with closing(open_at(parent, PurePath(), _FOLDER)) as readable:
                    os.fsync(readable)
        except BaseException:
            if is_new:
                os.rmdir(relative.name, dir_fd=parent)
            raise


def _make(parent: int, name: str) -> bool:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def open_at(folder: int, relative: PurePath | bytes, flags: int) -> int:
    """A descriptor of what lies there below an open folder; OSError as by `opened`."""
    how = _HOW.pack(flags | os.O_CLOEXEC, 0, _BENEATH | _NO_SYMLINKS)
    path = os.fsencode(relative)
    for _ in range(_ATTEMPTS):
        try:
            return libc.syscall(_OPENAT2, folder, path, how, _HOW.size)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                continue
            raise OSError(error.errno, error.strerror, os.fsdecode(path)) from None
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), os.fsdecode(path))
