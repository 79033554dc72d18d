"""One file that is stored instead of a folder: what comes back is its bytes and nothing else."""

import os
import random
from pathlib import Path

import pytest

from convoy_py.restic.archive import IMAGE
from convoy_py.restic.errors import Damaged, NotFound
from convoy_py.restic.nodes import encode_tree
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.prover import differs
from convoy_py.restic.repository import Repository
from convoy_py.restic.restorer import find, restore_file
from convoy_py.restic.writer import Writer
from tests.archiving import archived, ignore, restored, restored_image

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """With data here and there, holes, zeros, and an end that is no multiple of anything."""
    path = tmp_path / "its own name"
    with path.open("wb") as file:
        for place in (0, 3 * MIB, 40 * MIB - 5):
            file.seek(place)
            file.write(random.Random(place).randbytes(MIB))
        file.write(bytes(100_000))
        file.truncate(64 * MIB + 17)
    path.chmod(0o640)
    return path


def test_a_file_comes_back_to_the_byte(repository: Repository, image: Path, tmp_path: Path) -> None:
    """With its holes; who may read it says whoever makes it."""
    found = archived(repository, image)
    target = tmp_path / "target"
    done = restored_image(repository, found.tree, target)
    assert target.read_bytes() == image.read_bytes()
    assert done.bytes == found.counters.bytes_processed == image.stat().st_size
    assert target.stat().st_blocks * 512 < 8 * MIB
    assert list(differs(repository, find(repository, found.tree, [IMAGE]), target, ignore)) == []


def test_it_is_no_folder_to_who_looks_for_one(
    repository: Repository, image: Path, target: Path
) -> None:
    """Nothing is made of it by who does not know of it."""
    tree = archived(repository, image).tree
    with pytest.raises(NotFound, match=r"has no .?data"):
        restored(repository, tree, target)
    assert list(target.iterdir()) == []


def test_only_what_may_have_changed_is_read(
    repository: Repository, image: Path, tmp_path: Path
) -> None:
    before = archived(repository, image).tree
    with image.open("r+b") as file:
        file.seek(3 * MIB + 5)
        file.write(b"changed")
    place = (3 * MIB, 3 * MIB + 4096)
    found = archived(repository, image, previous=before, changes=lambda *_: [place])
    assert found.counters.bytes_read == MIB // 2
    target = tmp_path / "target"
    restored_image(repository, found.tree, target)
    assert target.read_bytes() == image.read_bytes()


def test_a_tree_of_a_folder_is_nothing_to_compare_with(
    repository: Repository, image: Path, tmp_path: Path, source: Path
) -> None:
    """Nor is that of a file for a folder: though all is said to be the same, all is read."""
    files, raw = archived(repository, source).tree, archived(repository, image).tree
    again = archived(repository, image, previous=files, changes=lambda *_: [])
    assert again.counters.bytes_read > 3 * MIB
    assert again.tree == raw
    found = archived(repository, source, previous=raw, changes=lambda *_: [])
    assert found.counters.bytes_read > 0
    assert found.tree == files


def test_a_byte_that_differs_is_told(repository: Repository, image: Path) -> None:
    tree = archived(repository, image).tree
    with image.open("r+b") as file:
        file.seek(50 * MIB)
        file.write(b"x")
    (told,) = differs(repository, find(repository, tree, [IMAGE]), image, ignore)
    assert "content from byte" in told


@pytest.mark.parametrize("size", [0, 1000])
def test_a_file_of_another_size_is_not_begun(
    repository: Repository, image: Path, tmp_path: Path, size: int
) -> None:
    target = tmp_path / "target"
    target.touch()
    os.truncate(target, size)
    node = find(repository, archived(repository, image).tree, [IMAGE])
    with pytest.raises(Damaged, match="bytes in the snapshot"):
        restore_file(repository, node, target, ignore)
    assert target.stat().st_size == size


@pytest.mark.parametrize("told", [1 << 20, 30 << 20])
def test_never_more_is_written_than_is_told(
    repository: Repository, tmp_path: Path, told: int
) -> None:
    """A tree may tell one size and hold another, and what it holds is written as it comes."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(random.Random(1).randbytes(26 * MIB))
    node = find(repository, archived(repository, source).tree, [IMAGE])
    node.size = told
    with Writer(repository) as writer:
        tree = writer.save(BlobKind.TREE, encode_tree([node]))
        writer.flush()
    with pytest.raises(Damaged, match="not the"):
        restored_image(repository, tree, target)
    assert target.stat().st_size == told


def test_what_is_no_file_is_refused(repository: Repository, source: Path, tmp_path: Path) -> None:
    node = find(repository, archived(repository, source).tree, [b"data"])
    (tmp_path / "file").touch()
    with pytest.raises(Damaged, match="is no file"):
        restore_file(repository, node, tmp_path / "file", ignore)
