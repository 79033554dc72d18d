"""The file of an image: made longer, copied and given blocks of its own, durably."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from convoy_py.backends.loopback import file
from convoy_py.linux import extents, files
from convoy_py.linux.extents import Shares
from tests.unsynced import Unsynced

MIB = 1 << 20


def uncounted(_: int) -> None:
    """A step of work that nobody follows."""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"x" * MIB)
    os.truncate(path, 4 * MIB)
    return path


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that lies in files is shared with others."""
    monkeypatch.setattr(extents, "shares", lambda _: Shares(MIB, MIB))


@pytest.mark.parametrize(
    ("size", "reserved", "length", "blocks"),
    [
        (8 * MIB, False, 8 * MIB, MIB),
        (8 * MIB, True, 8 * MIB, 8 * MIB),
        (4 * MIB, True, 4 * MIB, 4 * MIB),
        (2 * MIB, False, 4 * MIB, MIB),
    ],
)
def test_an_image_is_made_longer_and_never_shorter(
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    size: int,
    reserved: bool,
    length: int,
    blocks: int,
) -> None:
    """If it is reserved, with all of its blocks; on the disk when it says so."""
    unsynced = Unsynced(monkeypatch)
    file.extend(image, size, reserved=reserved)
    assert (image.stat().st_size, file.occupied(image)) == (length, blocks)
    assert unsynced.left() == set()


def test_an_image_of_the_right_length_is_not_touched(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "ftruncate", pytest.fail)
    file.extend(image, 4 * MIB, reserved=False)


def test_what_may_be_longer_already_is_said_to_be(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed sync says nothing of the length."""

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(files.Unsettled, match="Input/output error"):
        file.extend(image, 8 * MIB, reserved=False)


def test_what_shares_nothing_gets_its_blocks_where_it_is(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inode = image.stat().st_ino
    file.reserve(image, uncounted, 0)
    assert (image.stat().st_ino, file.occupied(image)) == (inode, 4 * MIB)


@pytest.mark.usefixtures("shared")
def test_what_is_shared_is_copied_into_blocks_of_its_own(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And gets its name when it is whole on the disk."""
    unsynced, told = Unsynced(monkeypatch), list[int]()
    inode = image.stat().st_ino
    file.reserve(image, told.append, 4 * MIB)
    assert (image.stat().st_ino != inode, file.occupied(image)) == (True, 4 * MIB)
    assert image.read_bytes() == b"x" * MIB + bytes(3 * MIB)
    assert (sum(told), unsynced.early) == (4 * MIB, [])
    assert [path.name for path in image.parent.iterdir()] == ["image"]


@pytest.mark.usefixtures("shared")
def test_no_link_in_an_images_place_is_followed(image: Path, tmp_path: Path) -> None:
    """Nor is a file that is in the way of a copy written over, or through."""
    other = tmp_path / "other"
    image.rename(other)
    image.symlink_to(other)
    works: list[Callable[[], None]] = [
        lambda: file.extend(image, 8 * MIB, reserved=False),
        lambda: file.reserve(image, uncounted, 0),
        lambda: file.copy(other, image, uncounted, 0),
    ]
    for work in works:
        with pytest.raises(OSError, match=r"symbolic links|File exists"):
            work()
    assert (other.stat().st_size, file.occupied(other)) == (4 * MIB, MIB)
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    (tmp_path / "there").write_text("mine")
    for name in ("dangling", "there"):
        with pytest.raises(FileExistsError):
            file.copy(other, tmp_path / name, uncounted, 0)
    assert (tmp_path / "there").read_text() == "mine"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("share", [True, False])
def test_a_copy_has_the_holes_and_counts_what_it_is_told(
    image: Path, tmp_path: Path, *, share: bool
) -> None:
    told = list[int]()
    file.copy(image, tmp_path / "copy", told.append, MIB, share=share)
    assert (tmp_path / "copy").read_bytes() == image.read_bytes()
    assert file.occupied(tmp_path / "copy") == MIB
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
