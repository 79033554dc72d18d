"""Nothing can be written to a mountpoint while nothing is mounted on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy_py.backends import mountpoints
from convoy_py.linux import files

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
