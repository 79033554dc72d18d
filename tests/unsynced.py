"""Watches what a power cut could still undo: names and content that were changed and not synced.

It sees what this process does through `os`, `fcntl` and `linux.libc`, and keeps no count of how
often or in which way it syncs: only whether all is on the disk when a verb says that it is done.
"""

import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from convoy_py.linux import btrfs, libc, mounts

_FICLONE = 0x40049409
_Identity = tuple[int, int]


@dataclass(frozen=True)
class _Change:
    """A file that was written, or a folder in which a name was changed: `made` there, if new."""

    identity: _Identity
    path: str
    mount: str
    made: str = ""

    def matters(self) -> bool:
        """Whether it is there still: what was made and deleted again need not be on the disk."""
        with suppress(FileNotFoundError):
            there = _identity(self.path) == self.identity
            return there and (not self.made or os.path.lexists(self.made))
        return False


class Unsynced:
    """The folders in which a name was changed, and the files that were written, since their sync.

    `early` are the files that got a name, alone or with their folder, before their content was on
    the disk, and what was unmounted before it was: another mount may go on without a sync.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.early: list[str] = []
        self._changes: set[_Change] = set()
        for name in ("write", "writev", "pwrite", "ftruncate", "posix_fallocate"):
            self._after(patch, os, name, lambda call: self._written(call[0]))
        self._after(patch, os, "copy_file_range", lambda call: self._written(call[1]))
        self._after(patch, fcntl, "ioctl", self._asked)
        for name in ("fchown", "fchmod"):
            self._after(patch, os, name, lambda call: self._borne(call[0]))
        self._after(patch, os, "open", self._opened)
        self._after(patch, os, "unlink", lambda call: self._named(call[0], call["dir_fd"]))
        for name in ("fsync", "fdatasync"):
            self._after(patch, os, name, lambda call: self._synced(call[0]))
        self._after(patch, os, "mkdir", lambda call: self._named(call[0], call["dir_fd"], new=True))
        self._around_rename(patch)
        self._around_unmount(patch)
        self._after(patch, libc, "call", self._called)

    def forget(self) -> None:
        """Take what was done so far for synced."""
        self._changes.clear()
        self.early.clear()

    def left(self, *but: Path) -> set[str]:
        """The paths of what a power cut now could undo, but for what changed in some folders."""
        known = {_identity(str(path)) for path in but if path.exists()}
        return {
            change.path
            for change in self._changes
            if change.matters() and change.identity not in known
        }

    def _after(
        self, patch: pytest.MonkeyPatch, module: Any, name: str, then: Callable[["_Call"], None]
    ) -> None:
        original = getattr(module, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            then(_Call(arguments, named))
            return result

        patch.setattr(module, name, watched)

    def _around_rename(self, patch: pytest.MonkeyPatch) -> None:
        original = os.rename

        def watched(source: Any, target: Any, **named: Any) -> None:
            at = named.get("src_dir_fd"), named.get("dst_dir_fd")
            old, new = (
                _full(name, folder) for name, folder in zip((source, target), at, strict=True)
            )
            below = [change for change in self._changes if _lies(change.path, old)]
            self.early += [
                new + change.path[len(old) :]
                for change in below
                if change.matters() and os.path.isfile(change.path)
            ]
            original(source, target, **named)
            self._moved({old: new})
            self._named(source, at[0])
            self._named(target, at[1])

        patch.setattr(os, "rename", watched)

    def _around_unmount(self, patch: pytest.MonkeyPatch) -> None:
        original = libc.call

        def watched(function: str, *arguments: Any, **named: Any) -> int:
            if function == "umount2":
                at = os.fsdecode(arguments[0])
                self.early += [path for path in self.left() if _lies(path, at)]
            return original(function, *arguments, **named)

        patch.setattr(libc, "call", watched)

    def _moved(self, names: dict[str, str]) -> None:
        """Have what lies below these names be known by those that they have now."""

        def now(path: str) -> str:
            for old, new in names.items():
                if _lies(path, old):
                    return new + path[len(old) :]
            return path

        self._changes = {
            replace(change, path=now(change.path), made=now(change.made))
            for change in self._changes
        }

    def _called(self, call: "_Call") -> None:
        if call[0] == "syncfs":
            self._all_synced(call[1])
        elif call[0] == "renameat2":
            one, other = (_full(os.fsdecode(path), None) for path in (call[2], call[4]))
            self._moved({one: other, other: one})
            for path in (one, other):
                self._named(path, None)

    def _asked(self, call: "_Call") -> None:
        if call[1] == _FICLONE:
            self._written(call[0])
        elif call[1] == btrfs._SNAP_CREATE_V2:  # commits all that came before
            self._all_synced(call[0])

    def _opened(self, call: "_Call") -> None:
        if call[1] & os.O_EXCL:
            self._named(call[0], call["dir_fd"], new=True)

    def _borne(self, fd: int) -> None:
        """The owner or the mode was changed."""
        self._changes.add(_Change(_identity(fd), _path(fd), _mount_of(_path(fd))))

    def _written(self, fd: int) -> None:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            self._changes.add(_Change(_identity(fd), _path(fd), _mount_of(_path(fd))))

    def _named(self, name: Any, folder: int | None, *, new: bool = False) -> None:
        """A name was changed: taken, given, or that of a new folder."""
        parent, base = os.path.split(os.fspath(name))
        fd = os.open(parent or ".", os.O_PATH, dir_fd=folder)
        try:
            path = _path(fd)
            made = os.path.join(path, base) if new else ""
            self._changes.add(_Change(_identity(fd), path, _mount_of(path), made))
        finally:
            os.close(fd)

    def _all_synced(self, fd: int) -> None:
        host = _mount_of(_path(fd))
        self._changes = {change for change in self._changes if change.mount != host}

    def _synced(self, fd: int) -> None:
        self._changes = {each for each in self._changes if each.identity != _identity(fd)}


class _Call:
    """The arguments of one call, by number or name; None is what was not given."""

    def __init__(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._arguments = arguments
        self._given = named

    def __getitem__(self, which: int | str) -> Any:
        return self._arguments[which] if isinstance(which, int) else self._given.get(which)


def _identity(file: int | str) -> _Identity:
    found = os.fstat(file) if isinstance(file, int) else os.lstat(file)
    return found.st_dev, found.st_ino


def _path(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


def _full(name: Any, folder: int | None) -> str:
    """The whole path of a name in an open folder, or of a name below /proc/self/fd."""
    parent, base = os.path.split(os.fspath(name))
    fd = os.open(parent or ".", os.O_PATH, dir_fd=folder)
    try:
        return os.path.join(_path(fd), base)
    finally:
        os.close(fd)


def _lies(path: str, top: str) -> bool:
    return f"{path}/".startswith(f"{top}/")


def _mount_of(path: str) -> str:
    """The device, or whatever else it is, of the filesystem; one for all subvolumes of btrfs."""
    with suppress(OSError):
        return mounts.holding(Path(path)).source
    return ""
