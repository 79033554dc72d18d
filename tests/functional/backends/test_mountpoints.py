"""Nothing can be written to a mountpoint while nothing is mounted on it."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy_py.backends import mountpoints
from convoy_py.errors import Unavailable
from convoy_py.linux import files, mounts

pytestmark = pytest.mark.root


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mounts" / "v"
    mountpoints.make(path)
    yield path
    if path.exists():
        files.set_immutable(path, on=False)


def test_not_even_root_writes_to_it(mountpoint: Path) -> None:
    """Data that landed there would be hidden by the next mount, and lost to its owner."""
    with pytest.raises(PermissionError):
        (mountpoint / "file").touch()
    assert mountpoint.stat().st_mode & 0o777 == 0


def test_making_it_again_changes_nothing(mountpoint: Path) -> None:
    """A daemon that was killed left it."""
    mountpoints.make(mountpoint)
    with pytest.raises(PermissionError):
        (mountpoint / "file").touch()


def test_removing_it_is_done_once_or_twice(mountpoint: Path) -> None:
    """And where it never was."""
    for _ in range(2):
        mountpoints.remove(mountpoint)
    assert not mountpoint.exists()


def test_what_someone_put_there_is_kept(mountpoint: Path) -> None:
    """It is not ours to delete, and no reason to fail."""
    files.set_immutable(mountpoint, on=False)
    (mountpoint / "file").touch()
    mountpoints.remove(mountpoint)
    assert (mountpoint / "file").exists()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Path]:
    """A mountpoint as a managed plugin has it, where there is no flag that guards it."""
    path = tmp_path / "mounts/guarded/v"
    mountpoints.make(path)
    yield path
    for mount in reversed(mounts.below(path.parent)):
        mounts.unmount(Path(mount.mountpoint))


def test_what_is_written_to_a_plugins_mountpoint_finds_no_room(guarded: Path) -> None:
    """There root can open a file, but no byte gets into it."""
    with pytest.raises(OSError, match="No space") as caught:
        (guarded / "file").write_bytes(b"x")
    assert caught.value.errno == errno.ENOSPC
    (guarded / "file").unlink()
    assert guarded.stat().st_mode & 0o777 == 0
    mountpoints.make(guarded)
    mountpoints.remove(guarded)
    assert not guarded.exists()


def test_a_plugins_mountpoint_goes_with_its_mount(guarded: Path) -> None:
    """An engine that unmounts all of it leaves no folder behind, and the next mount works."""
    mounts.mount("data", guarded, "tmpfs", ())
    for mount in reversed(mounts.below(guarded.parent)):
        mounts.detach(mount.mountpoint)
    assert not guarded.exists()
    mountpoints.make(guarded)
    mounts.mount("data", guarded, "tmpfs", ())
    (guarded / "file").touch()


def test_a_guard_that_a_crash_left_half_made_is_completed(guarded: Path) -> None:
    """Mounted, but not filled yet."""
    (guarded.parent / ".full").write_bytes(b"")
    (guarded / "file").write_bytes(b"x")
    (guarded / "file").unlink()
    mountpoints.make_folder(guarded.parent)
    with pytest.raises(OSError, match="No space"):
        (guarded / "file").write_bytes(b"x")


def test_nothing_is_made_beneath_the_guard(guarded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine may unmount it while a mountpoint is made."""
    mounts.unmount(guarded.parent)
    answers = iter((True, False))
    monkeypatch.setattr(mounts, "is_mountpoint", lambda _: next(answers))
    with pytest.raises(Unavailable, match="try again"):
        mountpoints.make(guarded)
    monkeypatch.undo()
    assert list(guarded.parent.iterdir()) == []
