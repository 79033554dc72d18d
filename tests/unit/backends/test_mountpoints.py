"""How mountpoints are taken down when something is in the way."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.backends import mountpoints
from convoy_py.linux import files, mounts


@pytest.fixture(autouse=True)
def unguarded(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The guards that were set and lifted, without the right to do so."""
    guards: list[bool] = []

    def set_immutable(path: Path, *, on: bool) -> None:
        path.stat()
        guards.append(on)

    monkeypatch.setattr(files, "set_immutable", set_immutable)
    return guards


def _failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOTEMPTY, errno.EBUSY, errno.EPERM, errno.ENOENT])
def test_what_is_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """It is no reason to fail: somebody mounted there, or put something there."""
    monkeypatch.setattr(Path, "rmdir", _failing(number))
    mountpoints.remove(tmp_path)


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_any_other_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(Path, "rmdir", _failing(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        mountpoints.remove(tmp_path)


def test_a_mountpoint_is_guarded_while_it_is_there(tmp_path: Path, unguarded: list[bool]) -> None:
    """Nobody may write to it, and the guard goes before it can."""
    path = tmp_path / "mounts/v"
    mountpoints.make(path)
    assert (unguarded, mountpoints.is_one(path)) == ([True], True)
    mountpoints.make(path)
    assert unguarded == [True]
    for _ in range(2):
        mountpoints.remove(path)
    assert (unguarded, path.exists()) == ([True, False], False)


def test_only_an_empty_guarded_folder_is_one(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.touch(mode=0)
    assert [mountpoints.is_one(path) for path in (folder, file, tmp_path / "none")] == [False] * 3


class Mounted:
    """A mount that is busy for so many tries."""

    def __init__(self, busy: int) -> None:
        self.tries = 0
        self.mounted = True
        self._busy = busy

    def unmount_unless_busy(self, path: Path) -> bool:
        self.tries += 1
        self.mounted = self.tries <= self._busy
        return not self.mounted

    def unmount(self, path: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Mounted]:
    def busy(tries: int) -> Mounted:
        found = Mounted(tries)
        monkeypatch.setattr(mounts, "is_mountpoint", lambda _: found.mounted)
        monkeypatch.setattr(mounts, "unmount_unless_busy", found.unmount_unless_busy)
        monkeypatch.setattr(mounts, "unmount", found.unmount)
        monkeypatch.setattr(mountpoints, "_LOOK_SECONDS", 0)
        return found

    return busy


def test_a_private_mount_is_waited_for(tmp_path: Path, mounted: Callable[[int], Mounted]) -> None:
    """A program that is just being started has copies of our open files for a moment."""
    found = mounted(3)
    with mountpoints.private(tmp_path / "mounts/v") as path:
        assert path.name.startswith(".new-")
    assert (found.tries, found.mounted, list((tmp_path / "mounts").iterdir())) == (4, False, [])


def test_a_private_mount_that_stays_is_told(
    tmp_path: Path, mounted: Callable[[int], Mounted]
) -> None:
    """Its mountpoint stays under it."""
    mounted(10**6)
    with (
        pytest.raises(OSError, match="busy"),
        mountpoints.private(tmp_path / "mounts/v") as path,
    ):
        pass
    assert path.is_dir()


def test_a_private_mountpoint_without_a_mount_just_goes(
    tmp_path: Path, mounted: Callable[[int], Mounted]
) -> None:
    found = mounted(0)
    found.mounted = False
    with mountpoints.private(tmp_path / "mounts/v") as path:
        pass
    assert (found.tries, path.exists()) == (0, False)
