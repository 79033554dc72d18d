"""What was committed is there; what failed on the way looks like nothing."""

import os
import threading
from datetime import timedelta

import pytest

from convoy_py.restic import compression, packs, writer
from convoy_py.restic import index as indexes
from convoy_py.restic.errors import LockLost, RepositoryError, StoreFailed
from convoy_py.restic.nodes import Node, encode_tree
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.writer import Writer
from tests.fakes_restic import NOW, MemoryStore, new_repository, new_snapshot

DATA, TREE = BlobKind.DATA, BlobKind.TREE
EMPTY = encode_tree([])


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> Repository:
    return new_repository(store)


def written(store: MemoryStore) -> list[Kind]:
    return [kind for verb, kind, _ in store.calls if verb == "write"]


def test_packs_come_before_the_index_and_that_before_the_snapshot(
    store: MemoryStore, repository: Repository
) -> None:
    contents = [os.urandom(3000) for _ in range(50)]
    store.calls.clear()
    with Writer(repository, pack_size=20_000) as saving:
        names = [saving.save(DATA, content) for content in contents]
        tree = saving.save(TREE, encode_tree([Node(b"f", "file", content=names)]))
        snapshot = saving.commit(new_snapshot(tree))

    count = len(written(store)) - 2
    assert written(store) == [Kind.PACK] * count + [Kind.INDEX, Kind.SNAPSHOT]
    opened = Repository.open(store, "right")
    assert opened.snapshots() == [snapshot]
    [node] = opened.read_tree(snapshot.tree)
    assert [opened.read_blob(DATA, name) for name in node.content or []] == contents
    listed = indexes.load_file(store, opened.master_key, store.names(Kind.INDEX)[0])
    assert sorted(pack.id.hex() for pack in listed) == store.names(Kind.PACK)
    assert all(len({blob.kind for blob in pack.blobs}) == 1 for pack in listed)
    for pack in listed:
        pack.check(opened.master_key, store.files[Kind.PACK, pack.id.hex()])


def test_what_is_there_is_not_stored_again(store: MemoryStore, repository: Repository) -> None:
    for number in range(3):
        with Writer(repository if number < 2 else Repository.open(store, "right")) as saving:
            for content in (b"one", b"two", b"one"):
                saving.save(DATA, content)
            saving.flush()
        assert saving.counters.blobs == 3
        assert saving.counters.bytes == 9
        assert saving.counters.blobs_new == (0 if number else 2)
        assert saving.counters.bytes_new == (0 if number else 6)

    assert len(store.names(Kind.PACK)) == len(store.names(Kind.INDEX)) == 1


def test_the_counters_have_all_once_it_is_settled(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what a thread is yet to seal when the last `save` returns."""
    released, compress, seen = threading.Event(), compression.compress, list[int]()

    def held_up(data: bytes) -> bytes:
        released.wait(30)
        return compress(data)

    monkeypatch.setattr(compression, "compress", held_up)
    with Writer(repository) as saving:

        def settle() -> None:
            saving.settle()
            seen.append(saving.counters.bytes_stored)

        saving.save(DATA, os.urandom(1000))
        settling = threading.Thread(target=settle)
        settling.start()
        released.set()
        settling.join()
    assert seen == [1032]


def test_the_kinds_share_nothing(store: MemoryStore, repository: Repository) -> None:
    with Writer(repository) as saving:
        saving.save(DATA, EMPTY)
        saving.save(TREE, EMPTY)
        saving.flush()

    assert len(store.names(Kind.PACK)) == 2


def test_what_others_wrote_since_is_seen_and_what_they_deleted_is_stored_again(
    store: MemoryStore, repository: Repository
) -> None:
    assert repository.index.count == 0
    with Writer(Repository.open(store, "right")) as other:
        other.save(DATA, b"one")
        other.flush()
    with Writer(repository) as saving:
        saving.save(DATA, b"one")
        assert saving.counters.blobs_new == 0
    for kind in (Kind.INDEX, Kind.PACK):
        store.delete(kind, store.names(kind)[0])

    with Writer(repository) as saving:
        saving.save(DATA, b"one")
        assert saving.counters.blobs_new == 1


def test_only_what_shrinks_is_compressed(repository: Repository) -> None:
    with Writer(repository) as saving:
        dense, loose = saving.save(DATA, os.urandom(1000)), saving.save(DATA, bytes(1000))
        tree = saving.save(TREE, EMPTY)
        saving.flush()

    _, blob = repository.index.place(DATA, dense)
    assert (blob.plain_length, blob.length) == (0, 1032)
    assert repository.index.place(DATA, loose)[1].plain_length == 1000
    assert repository.index.place(TREE, tree)[1].plain_length == len(EMPTY)


def test_snapshots_are_committed_together_all_or_none_without_its_tree(
    store: MemoryStore, repository: Repository
) -> None:
    with Writer(repository) as saving:
        tree = saving.save(TREE, EMPTY)
        wanted = [new_snapshot(tree, NOW + timedelta(days)) for days in range(20)]
        with pytest.raises(RepositoryError, match="never saved"):
            saving.commit_all([*wanted, new_snapshot(bytes(32))])
        assert not store.names(Kind.SNAPSHOT)
        committed = saving.commit_all(wanted)

    assert [each.time for each in committed] == [each.time for each in wanted]
    assert Repository.open(store, "right").snapshots() == committed


def test_a_tree_that_was_never_saved_is_no_snapshot(
    store: MemoryStore, repository: Repository
) -> None:
    with Writer(repository) as saving, pytest.raises(RepositoryError, match="never saved"):
        saving.commit(new_snapshot(bytes(32)))

    assert not store.names(Kind.SNAPSHOT)


def test_no_more_chunks_are_in_flight_than_threads_and_two(
    store: MemoryStore, repository: Repository
) -> None:
    """The storage takes nothing: what waits for it is all there is."""
    let_go = threading.Event()
    saved: list[int] = []

    def waits(verb: str, kind: Kind, name: str) -> None:
        assert let_go.wait(30)

    def save() -> None:
        for number in range(40):
            saving.save(DATA, b"%d" % number)
            saved.append(number)

    with Writer(repository, threads=2, pack_size=1) as saving:
        store.before = waits
        thread = threading.Thread(target=save)
        thread.start()
        # Two packs are being written, two threads wait to hand on theirs, two chunks for a thread.
        wait_for(lambda: len(saved) == 2 + 2 + 2)
        let_go.set()
        thread.join()
        saving.flush()
    assert len(store.names(Kind.PACK)) == 40


def wait_for(condition: object) -> None:
    assert callable(condition)
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not come")


@pytest.mark.parametrize("failing", [Kind.PACK, Kind.INDEX])
def test_after_a_failure_nothing_looks_complete(
    store: MemoryStore, repository: Repository, failing: Kind
) -> None:
    def fails_once(verb: str, kind: Kind, name: str) -> None:
        if (verb, kind) == ("write", failing):
            store.before = lambda *_: None
            raise StoreFailed("no space")

    store.before = fails_once
    with Writer(repository, pack_size=1) as saving:
        tree = saving.save(TREE, EMPTY)
        with pytest.raises(StoreFailed, match="no space"):
            saving.flush()
        for call in (
            lambda: saving.save(DATA, b"more"),
            saving.flush,
            lambda: saving.commit(new_snapshot(tree)),
        ):
            with pytest.raises(StoreFailed, match="no space"):
                call()

    assert not store.names(Kind.INDEX)
    assert not store.names(Kind.SNAPSHOT)
    with Writer(repository) as again:  # trusts nothing of it
        again.commit(new_snapshot(again.save(TREE, EMPTY)))
    assert Repository.open(store, "right").read_tree(tree) == []


def test_a_failure_reaches_whoever_saves(store: MemoryStore, repository: Repository) -> None:
    def fails(verb: str, kind: Kind, name: str) -> None:
        if verb == "write":
            raise StoreFailed("no space")

    store.before = fails

    def save_for_ever() -> None:
        for number in range(10_000):
            saving.save(DATA, b"%d" % number)

    with Writer(repository, pack_size=1) as saving, pytest.raises(StoreFailed, match="no space"):
        save_for_ever()


@pytest.mark.parametrize("calls", [0, 1])
def test_without_the_lock_neither_index_nor_snapshot_is_written(
    store: MemoryStore, repository: Repository, calls: int
) -> None:
    """It is lost before the first is written, or before the second."""
    left = [None] * calls

    def guard() -> None:
        if not left:
            raise LockLost("too late")
        left.pop()

    with Writer(repository, guard=guard) as saving:
        tree = saving.save(TREE, EMPTY)
        with pytest.raises(LockLost):
            saving.commit(new_snapshot(tree))

    assert len(store.names(Kind.INDEX)) == calls
    assert not store.names(Kind.SNAPSHOT)


def test_bad_memory_is_found_before_anything_is_stored(
    store: MemoryStore, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = MasterKey.seal
    monkeypatch.setattr(MasterKey, "seal", lambda key, plain: seal(key, bytes(len(plain))))

    with Writer(repository) as saving:
        saving.save(DATA, os.urandom(100))
        with pytest.raises(RepositoryError, match="memory or processor"):
            saving.flush()

    assert not store.names(Kind.PACK)


def test_what_waits_is_dropped_when_it_is_given_up(
    store: MemoryStore, repository: Repository
) -> None:
    let_go = threading.Event()

    def waits(verb: str, kind: Kind, name: str) -> None:
        assert kind is not Kind.PACK or let_go.wait(30)

    store.before = waits
    saving = Writer(repository, threads=1, pack_size=1)
    for number in range(5):  # two are being written, one waits for those, two for a thread
        saving.save(DATA, b"%d" % number)
    giving_up = threading.Thread(target=saving.abort)
    giving_up.start()
    wait_for(lambda: saving._ended)
    let_go.set()
    giving_up.join()

    assert 2 <= len(store.names(Kind.PACK)) <= 3


def test_what_was_given_up_goes_on_from_the_packs_that_are_there(
    store: MemoryStore, repository: Repository
) -> None:
    with Writer(repository, threads=1, pack_size=10_000) as saving:
        contents = [os.urandom(3000) for _ in range(30)]
        for content in contents:
            saving.save(DATA, content)
        wait_for(lambda: len(store.names(Kind.PACK)) >= 3)
    with pytest.raises(RepositoryError, match="ended"):
        saving.save(DATA, b"more")

    assert not store.names(Kind.SNAPSHOT)
    with Writer(Repository.open(store, "right")) as again:
        for content in contents:
            again.save(DATA, content)
    assert again.counters.blobs_new <= 30 - 3 * 3


@pytest.mark.parametrize(
    ("limit", "value"), [("_INDEX_AFTER", 0.0), ("_INDEX_BYTES", 1), ("_INDEX_BLOBS", 1)]
)
def test_an_index_is_written_on_the_way(
    store: MemoryStore,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: float,
) -> None:
    monkeypatch.setattr(writer, limit, value)
    with Writer(repository, pack_size=1) as saving:
        for number in range(5):
            saving.save(DATA, b"%d" % number)
        saving.flush()

    assert len(store.names(Kind.INDEX)) > 1
    assert Repository.open(store, "right").index.count == 5


def test_threads_save_together(store: MemoryStore, repository: Repository) -> None:
    contents = [b"%d" % (number % 50) * 100 for number in range(200)]
    with Writer(repository, pack_size=1000) as saving:

        def save() -> None:
            for content in contents:
                saving.save(DATA, content)

        threads = [threading.Thread(target=save) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        saving.flush()

    assert saving.counters.blobs == 800
    assert saving.counters.blobs_new == 50
    assert Repository.open(store, "right").index.count == 50


def test_many_tiny_blobs_make_headers_that_restic_takes(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, store: MemoryStore
) -> None:
    monkeypatch.setattr(packs, "_MOST_BLOBS", 10)
    with Writer(repository) as saving:
        for number in range(25):
            saving.save(DATA, b"%d" % number)
        saving.flush()

    assert len(store.names(Kind.PACK)) == 3
