"""Space that is kept for a full disk, when what gives space back, or only serves, must go on.

<root>/ballast/<n>/     each a MiB of blocks, on btrfs also one of metadata, which has its own room,
                        and some inodes, which others count
"""

import errno
import logging
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from threading import Lock
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from convoy_py.errors import ConvoyError, HostFull, NoSpace
from convoy_py.linux import btrfs, files
from convoy_py.linux.descriptors import opened

log = logging.getLogger("convoy.state")

_MIB = 1 << 20
# A rename on a btrfs that is out of metadata succeeded when 3 of them had been given up.
PIECES = 8
# They are made again when there is so much more: bytes, and inodes where these are counted.
_PLENTY_BYTES, _PLENTY_INODES = 64 * _MIB, 128
_INODES = 6  # of a piece
_XATTR = bytes(16000)  # the largest that fits into a leaf of btrfs

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

P = ParamSpec("P")
T = TypeVar("T")


class Ballast:
    """The ballast of one root. Methods do disk I/O and run in worker threads."""

    def __init__(self, root: Path, pieces: int = PIECES) -> None:
        self._count = pieces
        self._folder = root / "ballast"
        self._lock = Lock()

    def relieve(self, call: Callable[[], T]) -> T:
        """Do something; where the disk is full again, as long as there is ballast to give up.

        For what needs a little room for a moment, and leaves all as it was if it fails.
        """
        while True:
            try:
                return call()
            except (OSError, ConvoyError) as error:
                if not is_full(error) or not self._give_up():
                    raise

    def fill(self) -> None:
        """Make what is missing, if there is plenty of room for it."""
        with self._lock:
            missing = [path for path in self._pieces() if not path.exists()]
            if not missing or not self._is_roomy():
                return
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                for path in missing:
                    _make(path)
            except OSError as error:
                log.warning("no ballast in %s: %s", self._folder, error)

    def _give_up(self) -> bool:
        """Give up a piece; False if there is none."""
        with self._lock:
            for path in self._pieces():
                if not path.exists():
                    continue
                try:
                    files.remove_tree(path)
                except OSError as error:
                    log.warning("%s cannot be given up: %s", path, error)
                    continue
                log.warning("the disk of %s is full: %s is given up", self._folder.parent, path)
                return True
        return False

    def _pieces(self) -> list[Path]:
        return [self._folder / str(number) for number in range(self._count)]

    def _is_roomy(self) -> bool:
        root = self._folder.parent
        found = os.statvfs(root)
        inodes = not found.f_files or found.f_favail >= _PLENTY_INODES
        return inodes and files.has_room(root, _PLENTY_BYTES)


class _Ballasted(Protocol):
    @property
    def ballast(self) -> Ballast: ...


S = TypeVar("S", bound=_Ballasted)


def relieved(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Have a method done with the help of its object's ballast, see `Ballast.relieve`."""

    @wraps(method)
    def with_ballast(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.ballast.relieve(lambda: method(self, *args, **kwargs))

    return with_ballast


def is_full(error: Exception) -> bool:
    """Whether an error says that a disk, or a quota, had no room."""
    if isinstance(error, files.Unsettled):
        return False  # it is done, and not to be done again
    if isinstance(error, OSError):
        return error.errno in FULL
    # A wish that the host cannot fulfil is another matter.
    return isinstance(error, NoSpace) and not isinstance(error, HostFull)


def _make(path: Path) -> None:
    path.mkdir(mode=0o700)
    try:
        for number in range(2, _INODES):
            (path / str(number)).touch(mode=0o600)
        with opened(path / "1", os.O_WRONLY | os.O_CREAT) as fd:
            os.posix_fallocate(fd, 0, _MIB)
            if btrfs.is_btrfs(fd):
                for number in range(_MIB // len(_XATTR)):
                    os.setxattr(fd, f"user.{number}", _XATTR)
            os.fsync(fd)
    except OSError:
        files.remove_tree(path)
        raise
