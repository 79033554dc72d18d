"""Folders that become trees: all that they bear, and nothing read that did not change."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from convoy_py.linux import files, trees
from convoy_py.restic.archive import DATA
from convoy_py.restic.chunks import CHUNK, RUN, zero_id
from convoy_py.restic.errors import SourceChanged
from convoy_py.restic.nodes import encode_tree
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.restorer import find
from convoy_py.restic.writer import Writer
from tests.archiving import VOLUME, archived, ignore, restored
from tests.facts import facts, nest
from tests.fakes_restic import MemoryStore

MIB = 1 << 20


def unchanged(_path: bytes, _fd: int, _found: os.stat_result) -> Sequence[tuple[int, int]]:
    """Changes that tell of every file that it is what it was."""
    return ()


def unknown(_path: bytes, _fd: int, _found: os.stat_result) -> None:
    """Changes that tell nothing."""


def content(repository: Repository, tree: bytes, name: bytes) -> list[bytes]:
    found = find(repository, tree, [b"data", name]).content
    assert found is not None
    return found


def test_folder_comes_back_as_it_was(repository: Repository, source: Path, target: Path) -> None:
    """Names, kinds, modes, times, attributes, links, holes; and to read it leaves no trace."""
    names = ("file", "empty", "large", "fifo", "folder", "folder/below/program", ".")
    read = [(source / name).stat().st_atime_ns for name in names]
    tree = archived(repository, source).tree
    assert [(source / name).stat().st_atime_ns for name in names] == read
    restored(repository, tree, target)
    assert facts(target) == facts(source)
    assert (target / "sparse").stat().st_blocks * 512 < MIB


def test_what_is_beside_the_folder_stands_one_level_up(
    repository: Repository, source: Path
) -> None:
    tree = archived(repository, source).tree
    assert [node.name for node in repository.read_tree(tree)] == [b"data", b"volume.json"]
    node = find(repository, tree, [b"volume.json"])
    assert node.size == len(VOLUME)
    assert [repository.read_blob(BlobKind.DATA, name) for name in node.content or ()] == [VOLUME]


def test_what_did_not_change_is_neither_read_nor_stored(
    repository: Repository, store: MemoryStore, source: Path
) -> None:
    first = archived(repository, source)
    files = dict(store.files)
    second = archived(repository, source, previous=first.tree, changes=unchanged)
    assert second.tree == first.tree
    assert second.counters.bytes_read == 0
    assert second.counters.bytes_processed == first.counters.bytes_processed
    assert second.counters.files_unmodified == first.counters.files_new
    assert second.counters.dirs_unmodified == first.counters.dirs_new == 4
    assert store.files == files


def test_tree_depends_on_the_content_alone(
    repository: Repository, store: MemoryStore, source: Path, target: Path
) -> None:
    """A copy has other inodes, times of access, holes, and another order of its names."""
    tree = archived(repository, source).tree
    files = dict(store.files)
    trees.copy(source, target, ignore)
    (target / "sparse").write_bytes((source / "sparse").read_bytes())
    os.utime(target / "sparse", ns=(0, (source / "sparse").stat().st_mtime_ns))
    assert archived(repository, target).tree == tree
    assert store.files == files


@pytest.mark.parametrize(
    ("changed", "read"),
    [
        ([(0, 1)], [0]),
        ([(CHUNK - 1, CHUNK + 1)], [0, 1]),
        ([(CHUNK, 2 * CHUNK), (2 * CHUNK + 7, 2 * CHUNK + 8)], [1, 2]),
        ([(5 * CHUNK, 9 * CHUNK)], [5]),
        (None, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_only_chunks_with_a_change_are_read(
    repository: Repository,
    tmp_path: Path,
    changed: list[tuple[int, int]] | None,
    read: list[int],
) -> None:
    """A range that was not named is not looked at, even if it is another."""
    top = tmp_path / "top"
    top.mkdir()
    (top / "file").write_bytes(os.urandom(5 * CHUNK + 100))
    first = archived(repository, top)
    (top / "file").write_bytes(os.urandom(5 * CHUNK + 100))
    second = archived(repository, top, previous=first.tree, changes=lambda *_: changed)
    before, after = (content(repository, tree, b"file") for tree in (first.tree, second.tree))
    assert [i for i in range(6) if before[i] != after[i]] == read
    assert second.counters.bytes_read == sum(100 if i == 5 else CHUNK for i in read)
    assert second.counters.files_changed == 1


@pytest.mark.parametrize("size", [0, 1, CHUNK, 2 * CHUNK - 1, 2 * CHUNK + 1, 4 * CHUNK])
def test_what_was_cut_off_or_added_is_read(
    repository: Repository, tmp_path: Path, size: int
) -> None:
    """It need not be named as changed."""
    top, target = tmp_path / "top", tmp_path / "target"
    for folder in (top, target):
        folder.mkdir()
    data = os.urandom(4 * CHUNK)
    (top / "file").write_bytes(data[: 2 * CHUNK + 1])
    first = archived(repository, top)
    (top / "file").write_bytes(data[:size])
    second = archived(repository, top, previous=first.tree, changes=unchanged)
    restored(repository, second.tree, target)
    assert (target / "file").read_bytes() == data[:size]


def test_content_of_which_a_blob_is_missing_is_read(
    repository: Repository, store: MemoryStore, source: Path, target: Path
) -> None:
    """As after a `prune` that went wrong: the next backup mends what it can."""
    tree = archived(repository, source).tree
    for key in [key for key in store.files if key[0].value in ("index", "data")]:
        del store.files[key]
    again = Repository.unlock(store, repository.master_key)
    second = archived(again, source, previous=tree, changes=unchanged)
    assert second.counters.bytes_read > 3 * MIB
    restored(again, second.tree, target)
    assert facts(target) == facts(source)


def test_kind_that_changed_is_stored_anew(
    repository: Repository, source: Path, target: Path
) -> None:
    """A file where a folder was, a folder where a link was."""
    first = archived(repository, source)
    (source / "empty folder").rmdir()
    (source / "empty folder").write_bytes(b"now")
    (source / "broken").unlink()
    (source / "broken").mkdir()
    second = archived(repository, source, previous=first.tree, changes=unchanged)
    restored(repository, second.tree, target)
    assert facts(target) == facts(source)


def _chmod(top: Path) -> None:
    (top / "folder" / "file").chmod(0o400)


def _rename(top: Path) -> None:
    (top / "folder" / "file").rename(top / "folder" / "renamed")


def _add(top: Path) -> None:
    (top / "folder" / "below" / "added").write_bytes(b"")


def _remove(top: Path) -> None:
    (top / "folder" / "below" / "last").unlink()


def _link(top: Path) -> None:
    os.link(top / "folder" / "below" / "last", top / "linked")


def _own(top: Path) -> None:
    os.setxattr(top / "folder" / "below", "user.x", b"y")


@pytest.mark.parametrize("change", [_chmod, _rename, _add, _remove, _link, _own])
def test_tree_is_the_same_with_a_previous_one_or_without(
    repository: Repository, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Folders in which nothing changed are taken over as they are, and no others."""
    top = tmp_path / "top"
    (top / "folder" / "below").mkdir(parents=True)
    for name in ("first", "folder/file", "folder/below/last", "other"):
        (top / name).write_bytes(name.encode())
    first = archived(repository, top)
    change(top)
    with_it = archived(repository, top, previous=first.tree, changes=unchanged)
    assert with_it.tree == archived(repository, top).tree != first.tree


def test_folder_of_which_the_previous_tree_is_missing_is_stored(
    repository: Repository, source: Path
) -> None:
    """An empty one, too, which is as good as it was."""
    first = archived(repository, source)
    folder = find(repository, first.tree, [DATA])
    assert folder.subtree
    nodes = repository.read_tree(folder.subtree)
    for node in nodes:
        if node.name == b"empty folder":
            node.subtree = bytes(32)
    with Writer(repository) as writer:
        folder.subtree = writer.save(BlobKind.TREE, encode_tree(nodes))
        previous = writer.save(BlobKind.TREE, encode_tree([folder]))
        writer.flush()
    assert archived(repository, source, previous=previous, changes=unchanged).tree == first.tree


def test_file_that_is_replaced_is_told(repository: Repository, source: Path) -> None:
    def replace(_done: object) -> None:
        if (source / "sparse").is_file():
            (source / "sparse").unlink()
            (source / "sparse").mkdir()

    with pytest.raises(SourceChanged, match="sparse was replaced"):
        archived(repository, source, replace)


def test_holes_are_not_read(repository: Repository, tmp_path: Path, target: Path) -> None:
    """Long ones are few blobs; and one zero chunk is of the length by which restic leaves holes."""
    top = tmp_path / "top"
    top.mkdir()
    with (top / "file").open("wb") as file:
        file.truncate(100 * RUN + 5)
        file.seek(50 * RUN)
        file.write(b"data")
    found = archived(repository, top)
    assert found.counters.bytes_read == CHUNK
    blobs = content(repository, found.tree, b"file")
    assert blobs.count(zero_id(RUN)) == 98
    assert blobs.count(zero_id(CHUNK)) == 16 + 15
    second = archived(repository, top, previous=found.tree, changes=unchanged)
    assert second.tree == found.tree
    third = archived(repository, top, previous=found.tree, changes=lambda *_: [(0, 1)])
    assert third.tree == found.tree
    restored(repository, found.tree, target)
    trees.verify(top, target, ignore)
    assert (target / "file").stat().st_blocks * 512 < CHUNK


def test_very_large_file_has_larger_chunks(
    repository: Repository, tmp_path: Path, target: Path
) -> None:
    """All but the tail of it is holes."""
    top = tmp_path / "top"
    top.mkdir()
    with (top / "file").open("wb") as file:
        file.truncate((256 << 30) + 3)
        file.seek(100 << 30)
        file.write(b"data")
    found = archived(repository, top)
    assert found.counters.bytes_read == MIB
    blobs = content(repository, found.tree, b"file")
    assert zero_id(CHUNK) in blobs
    assert len(blobs) < 33_000
    second = archived(
        repository, top, previous=found.tree, changes=lambda *_: [(100 << 30, 1 << 38)]
    )
    assert second.tree == found.tree
    assert second.counters.bytes_read == MIB
    restored(repository, found.tree, target)
    with (target / "file").open("rb") as file:
        assert file.seek(0, os.SEEK_DATA) == 100 << 30
        assert file.read(5) == b"data\0"
        assert os.fstat(file.fileno()).st_size == (256 << 30) + 3


def test_folders_may_be_nested_deeper_than_descriptors_and_names_reach(
    repository: Repository, tmp_path: Path, target: Path
) -> None:
    top = tmp_path / "top"
    top.mkdir()
    nest(top, 2100)
    before = len(os.listdir("/proc/self/fd"))
    try:
        tree = archived(repository, top).tree
        restored(repository, tree, target)
        trees.verify(top, target, ignore)
    finally:
        files.remove_tree(top)
        files.remove_tree(target)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("size", [0, MIB, 4 * MIB])
def test_file_that_is_written_to_is_told(repository: Repository, source: Path, size: int) -> None:
    """Cut off or longer: there is no snapshot of which this would be the backup."""

    def write(path: bytes, _fd: int, _found: os.stat_result) -> None:
        if path == b"large":
            os.truncate(source / "large", size)

    tree = archived(repository, source).tree
    with pytest.raises(SourceChanged, match="large was written to while it was read"):
        archived(repository, source, previous=tree, changes=write)


def test_file_that_vanishes_is_told(repository: Repository, source: Path) -> None:
    def remove(_done: object) -> None:
        (source / "sparse").unlink(missing_ok=True)

    with pytest.raises(SourceChanged, match="sparse vanished"):
        archived(repository, source, remove)


def test_what_tell_raises_stops_the_work(repository: Repository, tmp_path: Path) -> None:
    """And closes what was opened ahead."""

    class Stopped(Exception):
        pass

    def stop(_done: object) -> None:
        raise Stopped

    for name in "abc":
        (tmp_path / name).write_text(name)
    with pytest.raises(Stopped):
        archived(repository, tmp_path, stop)
    opened = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert not [path for path in opened if path.is_relative_to(tmp_path)]


def test_error_names_the_file(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "nowhere")):
        archived(repository, tmp_path / "nowhere")
