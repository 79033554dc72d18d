"""Folders by descriptors alone: no link followed, nothing that is mounted within, no way out."""

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

_OPENAT2 = 437
_HOW = struct.Struct("=3Q")  # open_how: flags, mode, resolve
_NO_XDEV, _NO_SYMLINKS, _BENEATH = 1, 4, 8

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Position:
    """Where one stands in a tree of folders: one descriptor, however deep it is.

    Nobody else moves folders meanwhile; where somebody does, ESTALE.
    """

    def __init__(self, top: Path) -> None:
        self.fd = _untouched(lambda noatime: os.open(top, _FOLDER | noatime))
        self._way = [(b"", _identity(self.fd))]

    def __enter__(self) -> "Position":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.fd)

    @property
    def depth(self) -> int:
        """How many folders below the top it stands."""
        return len(self._way) - 1

    def path(self, name: bytes = b"") -> bytes:
        """The path of `name`, or of the folder itself, as seen from the top."""
        names = [name for name, _ in self._way[1:]]
        return b"/".join([*names, name] if name else names)

    def down(self, name: bytes) -> None:
        """Go into a folder; EXDEV if something is mounted there."""
        below = _untouched(lambda noatime: opened(self.fd, name, _FOLDER | noatime))
        self._way.append((name, _identity(below)))
        self._move(below)

    def up(self) -> None:
        """Go back to the folder above."""
        above = _untouched(lambda noatime: os.open("..", _FOLDER | noatime, dir_fd=self.fd))
        self._way.pop()
        is_same = _identity(above) == self._way[-1][1]
        self._move(above)
        if not is_same:
            raise OSError(errno.ESTALE, "a folder was moved meanwhile")

    def _move(self, fd: int) -> None:
        os.close(self.fd)
        self.fd = fd


def opened(folder: int, name: bytes, flags: int, mode: int = 0) -> int:
    """A descriptor of `name` in an open folder, on the same mount: EXDEV if something is on it.

    A link is opened only as itself (O_PATH and O_NOFOLLOW), ELOOP otherwise. Kernel 5.6.
    """
    how = _HOW.pack(flags | os.O_CLOEXEC, mode, _NO_XDEV | _NO_SYMLINKS | _BENEATH)
    fd: int = _LIBC.syscall(
        ctypes.c_long(_OPENAT2), ctypes.c_long(folder), name, how, ctypes.c_long(_HOW.size)
    )
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(name))
    return fd


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """Close an open descriptor at the end of the block."""
    try:
        yield fd
    finally:
        os.close(fd)


def reading(folder: int, name: bytes) -> int:
    """A regular file in an open folder, open for reading, as `opened` does.

    Should it be something else by now, opening it neither waits nor does anything to it.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
    return _untouched(lambda noatime: opened(folder, name, flags | noatime))


def _untouched(opening: Callable[[int], int]) -> int:
    """Leave no time of access, where that is allowed."""
    try:
        return opening(os.O_NOATIME)
    except PermissionError:  # it is another user's
        return opening(0)


def names(folder: int) -> list[bytes]:
    """What is in an open folder, in the order of bytes."""
    return sorted(map(os.fsencode, os.listdir(folder)))


def entries(folder: int) -> list[tuple[bytes, bool]]:
    """The same, each with whether it is a regular file."""
    with os.scandir(folder) as found:
        return sorted((os.fsencode(e.name), e.is_file(follow_symlinks=False)) for e in found)


@contextmanager
def named(path: Callable[[], bytes]) -> Iterator[None]:
    """Let errors of the system name the file at `path`, told when one comes."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fsdecode(path())) from error


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
