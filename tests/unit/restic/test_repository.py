"""A repository is made once, opened by its password, and read whole or not at all."""

import hashlib
import os
from datetime import timedelta

import pytest

from convoy_py.restic import keyfiles
from convoy_py.restic import repository as repositories
from convoy_py.restic.errors import (
    AlreadyThere,
    Damaged,
    NoRepository,
    NotFound,
    RepositoryError,
    StoreFailed,
    WrongPassword,
)
from convoy_py.restic.nodes import Node, encode_tree
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.writer import Writer
from tests.fakes_restic import NOW, QUICK, MemoryStore, new_repository, new_snapshot

DATA = BlobKind.DATA
CONTENTS = [os.urandom(5000) for _ in range(20)]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> Repository:
    return new_repository(store)


def saved(repository: Repository, contents: list[bytes]) -> list[bytes]:
    with Writer(repository, threads=1) as writer:
        names = [writer.save(DATA, content) for content in contents]
        writer.flush()
    return names


def test_opens_by_password_and_by_key(store: MemoryStore, repository: Repository) -> None:
    opened = Repository.open(store, "right")

    assert (opened.id, opened.master_key) == (repository.id, repository.master_key)
    assert Repository.unlock(store, repository.master_key).id == repository.id
    with pytest.raises(WrongPassword):
        Repository.open(store, "wrong")


def test_none_is_told_as_that(store: MemoryStore) -> None:
    with pytest.raises(NoRepository):
        Repository.open(store, "any")
    keyfiles.add(store, new_repository(MemoryStore()).master_key, "any", NOW, QUICK)
    with pytest.raises(NoRepository, match="no config"):
        Repository.open(store, "any")


@pytest.mark.parametrize("kept", [Kind.CONFIG, Kind.KEY, Kind.SNAPSHOT])
def test_none_is_made_over_a_part_of_one(store: MemoryStore, kept: Kind) -> None:
    store.write(kept, "" if kept is Kind.CONFIG else "ab" * 32, [b""])
    before = dict(store.files)

    with pytest.raises(AlreadyThere):
        new_repository(store)

    assert store.files == before


def test_of_two_at_once_one_wins_and_the_other_leaves_nothing(store: MemoryStore) -> None:
    """The loser's key would open with its password, and not fit the config."""

    def meanwhile(verb: str, kind: Kind, name: str) -> None:
        if verb == "write" and kind is Kind.CONFIG:
            store.before = lambda *_: None
            other = MemoryStore()
            new_repository(other)
            store.files |= other.files

    store.before = meanwhile
    with pytest.raises(AlreadyThere):
        new_repository(store)

    assert len(store.names(Kind.KEY)) == 1
    Repository.open(store, "right")


def test_what_was_cut_off_before_its_config_is_continued(store: MemoryStore) -> None:
    """By who has the password; to everybody else it is a part of a repository."""

    def fails(verb: str, kind: Kind, name: str) -> None:
        if verb == "write" and kind is Kind.CONFIG:
            raise StoreFailed("no room")

    store.before = fails
    with pytest.raises(StoreFailed):
        new_repository(store)
    store.before = lambda *_: None
    with pytest.raises(AlreadyThere, match="another password"):
        new_repository(store, "wrong")

    made = new_repository(store)

    assert len(store.names(Kind.KEY)) == 1
    assert Repository.open(store, "right").id == made.id


def test_of_two_that_continue_each_other_none_takes_the_key_away(store: MemoryStore) -> None:
    def meanwhile(verb: str, kind: Kind, name: str) -> None:
        if verb == "write" and kind is Kind.CONFIG:
            store.before = lambda *_: None
            new_repository(store)

    store.before = meanwhile

    assert new_repository(store).id == Repository.open(store, "right").id


def test_snapshots_are_listed_by_time_and_found_by_the_beginning_of_their_id(
    repository: Repository,
) -> None:
    with Writer(repository, threads=1) as writer:
        tree = writer.save(BlobKind.TREE, encode_tree([]))
        later = writer.commit(new_snapshot(tree, time=NOW + timedelta(1)))
        first = writer.commit(new_snapshot(tree))

    assert repository.snapshots() == [first, later]
    assert repository.snapshot(first.id[:10]) == repository.snapshot(first.id) == first
    with pytest.raises(RepositoryError, match="2 snapshots begin"):
        repository.snapshot("")
    with pytest.raises(RepositoryError, match="none of the snapshots"):
        repository.snapshot("x")

    repository.delete_snapshot(first.id)
    assert repository.snapshots() == [later]


def test_a_snapshot_that_goes_while_they_are_listed_is_left_out(
    store: MemoryStore, repository: Repository
) -> None:
    with Writer(repository, threads=1) as writer:
        gone = writer.commit(new_snapshot(writer.save(BlobKind.TREE, encode_tree([]))))

    def meanwhile(verb: str, kind: Kind, name: str) -> None:
        if verb == "read" and name == gone.id:
            del store.files[kind, name]

    store.before = meanwhile
    assert repository.snapshots() == []


def test_a_file_under_the_name_of_another_kind_is_damage(
    store: MemoryStore, repository: Repository
) -> None:
    """Nothing but its fields says of a sealed file what it is."""
    saved(repository, CONTENTS)
    [name] = store.names(Kind.INDEX)
    store.files[Kind.SNAPSHOT, name] = store.files[Kind.INDEX, name]

    with pytest.raises(Damaged, match="no time or no tree"):
        repository.snapshots()


def test_a_whole_file_under_the_name_of_another_is_damage(
    store: MemoryStore, repository: Repository
) -> None:
    with Writer(repository, threads=1) as writer:
        tree = writer.save(BlobKind.TREE, encode_tree([]))
        first, second = (writer.commit(new_snapshot(tree, NOW + timedelta(d))) for d in (0, 1))
    store.files[Kind.SNAPSHOT, first.id] = store.files[Kind.SNAPSHOT, second.id]

    with pytest.raises(Damaged, match=f"snapshots/{first.id}.*hash to its name"):
        repository.snapshots()


def test_trees_are_read(repository: Repository) -> None:
    nodes = [Node(b"a", "file", content=[]), Node(b"b", "dir")]
    with Writer(repository, threads=1) as writer:
        name = writer.save(BlobKind.TREE, encode_tree(nodes))
        other = writer.save(BlobKind.TREE, b"{}")
        writer.flush()

    assert repository.read_tree(name) == nodes
    with pytest.raises(Damaged, match=f"tree {other.hex()}"):
        repository.read_tree(other)
    with pytest.raises(NotFound):
        repository.read_tree(bytes(32))


def test_trees_are_read_with_those_around_them(store: MemoryStore, repository: Repository) -> None:
    """Small ones, some that lie across, and one that is larger than what is read at once."""
    sizes = [*[1] * 30, *[100] * 30, 9000, *[40] * 30]
    trees = [
        [Node(b"%05d-%d" % (n, number), "file", content=[os.urandom(32)]) for n in range(size)]
        for number, size in enumerate(sizes)
    ]
    with Writer(repository, threads=1) as writer:
        names = [writer.save(BlobKind.TREE, encode_tree(nodes)) for nodes in trees]
        writer.flush()
    store.calls.clear()

    assert [repository.read_tree(name) for name in names] == trees

    size = len(store.files[Kind.PACK, store.names(Kind.PACK)[0]])
    assert len(store.calls) <= size // (256 << 10) + 2


@pytest.mark.parametrize("harm", ["flipped", "cut"])
def test_what_is_broken_beside_a_tree_does_no_harm(
    store: MemoryStore, repository: Repository, harm: str
) -> None:
    with Writer(repository, threads=1) as writer:
        whole = writer.save(BlobKind.TREE, encode_tree([Node(b"a", "dir")]))
        broken = writer.save(BlobKind.TREE, encode_tree([Node(b"b", "dir")]))
        writer.flush()
    pack, blob = repository.index.place(BlobKind.TREE, broken)
    content = bytearray(store.files[Kind.PACK, pack.hex()])
    content[blob.offset + 40] ^= 1
    if harm == "cut":
        del content[blob.offset + 40 :]
    store.files[Kind.PACK, pack.hex()] = bytes(content)

    assert repository.read_tree(whole) == [Node(b"a", "dir")]
    with pytest.raises((Damaged, StoreFailed)):
        repository.read_tree(broken)


def test_blobs_are_read_together_each_once(store: MemoryStore, repository: Repository) -> None:
    names = saved(repository, CONTENTS)
    store.calls.clear()

    read = list(repository.read_blobs(DATA, [*names[2:9], *names[:5]]))

    assert sorted(read) == sorted(zip(names[:9], CONTENTS[:9], strict=True))
    assert len(store.calls) == 1


def test_far_apart_and_many_are_read_apart(repository: Repository) -> None:
    names = saved(repository, [os.urandom(300_000) for _ in range(5)])

    parts = repository.ranges(
        repository.index.place(DATA, name) for name in (names[0], names[1], names[3], names[4])
    )

    assert [len(part.blobs) for part in parts] == [2, 2]
    assert all(part.length < 700_000 for part in parts)


def test_no_more_is_read_at_once_than_fits_into_memory(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = saved(repository, CONTENTS)
    monkeypatch.setattr(repositories, "_LARGEST_RANGE", 16_000)

    parts = repository.ranges(repository.index.place(DATA, name) for name in names)

    assert [len(part.blobs) for part in parts] == [3] * 6 + [2]


def test_missing_blobs_are_told_before_any_is_read(
    store: MemoryStore, repository: Repository
) -> None:
    names = saved(repository, CONTENTS)
    store.calls.clear()

    with pytest.raises(NotFound, match="data blob 0000"):
        list(repository.read_blobs(DATA, [*names, bytes(32)]))
    assert store.calls == []


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
@pytest.mark.parametrize("copied", [True, False])
def test_another_copy_serves_for_a_broken_one(
    store: MemoryStore, repository: Repository, harm: str, copied: bool
) -> None:
    names = saved(repository, CONTENTS)
    if copied:  # as two hosts make one
        index = store.files.pop((Kind.INDEX, store.names(Kind.INDEX)[0]))
        saved(Repository.open(store, "right"), CONTENTS)
        store.files[Kind.INDEX, hashlib.sha256(index).hexdigest()] = index
    repository = Repository.open(store, "right")
    pack, blob = repository.index.place(DATA, names[3])
    content = bytearray(store.files.pop((Kind.PACK, pack.hex())))
    if harm == "flipped":
        content[blob.offset + 50] ^= 1
    elif harm == "cut":
        del content[blob.offset + 50 :]
    if harm != "gone":
        store.files[Kind.PACK, pack.hex()] = bytes(content)

    if copied:
        assert dict(repository.read_blobs(DATA, names)) == dict(zip(names, CONTENTS, strict=True))
        assert repository.read_blob(DATA, names[3]) == CONTENTS[3]
    else:
        with pytest.raises((Damaged, StoreFailed, NotFound)):
            list(repository.read_blobs(DATA, names))
        if harm != "gone":
            assert repository.read_blob(DATA, names[0]) in CONTENTS
