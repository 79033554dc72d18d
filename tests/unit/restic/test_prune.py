"""A prune deletes what no snapshot needs, and nothing else: whatever goes wrong, at every step."""

import random
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from itertools import count, product

import pytest

from convoy_py.models.session import Access, Prune
from convoy_py.restic import index as indexes
from convoy_py.restic import snapshots, unpacked
from convoy_py.restic.errors import Damaged, LockLost, RepositoryError, StoreFailed
from convoy_py.restic.nodes import Node, encode_tree
from convoy_py.restic.packs import BlobKind, Pack
from convoy_py.restic.pruner import carry_out
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.surplus import plan
from convoy_py.restic.writer import Writer
from convoy_py.session.pruning import prune
from convoy_py.session.speech import Speech
from tests.fakes_restic import MemoryStore, new_repository, new_snapshot
from tests.pruning import (
    Files,
    assert_whole,
    backed_up,
    blobs,
    ignore,
    indexed,
    pruned,
    some_files,
    with_garbage,
)


class Killed(BaseException):
    """The end of a process, as far as a test can have it."""


@pytest.fixture(scope="module")
def made() -> tuple[MemoryStore, dict[str, Files]]:
    """A repository in which most packs hold something that nobody needs; what is to stay."""
    store = MemoryStore()
    return store, with_garbage(new_repository(store), random.Random(3), rounds=4)


@pytest.fixture
def store(made: tuple[MemoryStore, dict[str, Files]]) -> MemoryStore:
    return copy(made[0])


@pytest.fixture
def kept(made: tuple[MemoryStore, dict[str, Files]]) -> dict[str, Files]:
    return made[1]


def copy(of: MemoryStore) -> MemoryStore:
    store = MemoryStore()
    store.files = dict(of.files)
    return store


def opened(store: MemoryStore) -> Repository:
    return Repository.open(store, "right")


def deletes(store: MemoryStore) -> list[Kind]:
    return [kind for verb, kind, _ in store.calls if verb == "delete"]


def test_what_no_snapshot_needs_goes_and_all_else_stays(
    store: MemoryStore, kept: dict[str, Files]
) -> None:
    before = set(blobs(opened(store)))
    needed = needed_by(opened(store))
    assert needed < before
    done = pruned(opened(store))
    assert_whole(store, kept)
    assert set(blobs(opened(store))) == needed
    assert indexed(opened(store)) == set(store.names(Kind.PACK))
    assert done.repacked
    assert done.deleted
    assert done.freed_bytes
    assert plan(opened(store), ignore).is_empty


def needed_by(repository: Repository) -> set[bytes]:
    """Found another way than a prune does."""
    found: set[bytes] = set()

    def walk(tree: bytes) -> None:
        found.add(tree)
        for node in repository.read_tree(tree):
            found.update(node.content or ())
            if node.subtree:
                walk(node.subtree)

    for snapshot in repository.snapshots():
        walk(snapshot.tree)
    return found


def test_the_order_is_packs_indexes_old_indexes_old_packs(store: MemoryStore) -> None:
    pruned(opened(store))
    changes = [(verb, kind) for verb, kind, _ in store.calls if verb in ("write", "delete")]
    order = [
        ("write", Kind.PACK),
        ("write", Kind.INDEX),
        ("delete", Kind.INDEX),
        ("delete", Kind.PACK),
    ]
    assert changes == sorted(changes, key=order.index)
    assert set(changes) == set(order)


def test_what_no_index_names_goes_first(store: MemoryStore, kept: dict[str, Files]) -> None:
    """It needs no room, of which there may be none."""
    name = "ab" * 32
    store.write(Kind.PACK, name, [b"left by what was cut off"])
    repository = opened(store)
    store.calls.clear()
    pruned(repository)
    changes = [call for call in store.calls if call[0] in ("write", "delete")]
    assert changes[0] == ("delete", Kind.PACK, name)
    assert_whole(store, kept)


def stops(how: str, at: int, error: BaseException) -> Callable[[str, Kind, str], None]:
    """A store that fails at one call, and is well again, or is dead from then on."""
    calls = count()

    def before(verb: str, kind: Kind, name: str) -> None:
        number = next(calls)
        if number == at or (number > at and how == "dead"):
            raise error

    return before


def calls_of_a_prune(of: MemoryStore) -> int:
    store = copy(of)
    repository = opened(store)
    store.calls.clear()
    pruned(repository)
    return len(store.calls)


@pytest.mark.parametrize(
    ("how", "error"),
    [("dead", Killed()), ("once", StoreFailed("EIO"))],
    ids=["killed", "failed"],
)
def test_wherever_it_is_cut_off_all_stays_whole_and_the_next_one_ends_it(
    made: tuple[MemoryStore, dict[str, Files]], how: str, error: BaseException
) -> None:
    """At each call of the storage: reads, of which one that failed may be repeated, to deletes."""
    of, kept = made
    for at in range(calls_of_a_prune(of)):
        store = copy(of)
        repository = opened(store)
        store.before = stops(how, at, error)
        with suppress(type(error)):
            pruned(repository)
        store.before = ignore
        assert_whole(store, kept)
        pruned(opened(store))
        assert_whole(store, kept)
        assert indexed(opened(store)) == set(store.names(Kind.PACK))
        assert set(blobs(opened(store))) == needed_by(opened(store))


class Lock:
    """Lost when it is asked for the `last` time; `events` tell what was done before."""

    def __init__(self, store: MemoryStore, last: int) -> None:
        self.events: list[str] = []
        self.left = last
        store.before = self.before

    def confirm(self) -> None:
        self.left -= 1
        self.events.append("asked")
        if self.left < 0:
            raise LockLost("gone")

    def before(self, verb: str, kind: Kind, name: str) -> None:
        if verb in ("write", "delete"):
            self.events.append("changed")


def test_the_lock_is_looked_at_before_each_change(store: MemoryStore) -> None:
    lock = Lock(store, 1000)
    pruned(opened(store), lock.confirm)
    assert lock.events == ["asked", "changed"] * (len(lock.events) // 2)


def test_a_lock_that_is_lost_stops_it_before_the_next_change(
    made: tuple[MemoryStore, dict[str, Files]],
) -> None:
    of, kept = made
    whole = Lock(store := copy(of), 1000)
    pruned(opened(store), whole.confirm)
    for last in range(len(whole.events) // 2):
        lock = Lock(store := copy(of), last)
        with pytest.raises(LockLost):
            pruned(opened(store), lock.confirm)
        assert lock.events == [*["asked", "changed"] * last, "asked"]
        assert_whole(store, kept)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *product((Kind.SNAPSHOT, Kind.INDEX, Kind.PACK), ("flipped", "cut")),
        (Kind.INDEX, "gone"),
        (Kind.PACK, "gone"),
    ],
    ids=lambda of: of if isinstance(of, str) else of.name,
)
def test_what_is_damaged_has_nothing_deleted(
    store: MemoryStore, kept: dict[str, Files], kind: Kind, how: str
) -> None:
    """Of each kind of file any one that a prune reads, or of which it has to know the size."""
    found = 0
    pristine = copy(store)
    read = read_by_a_prune(pristine)
    for name in pristine.names(kind):
        if how == "flipped" and name not in read:
            continue
        store = copy(pristine)
        content = bytearray(store.files[kind, name])
        if how == "gone":
            del store.files[kind, name]
        elif how == "cut":
            store.files[kind, name] = bytes(content[:-1])
        else:
            flipped(content)
            store.files[kind, name] = bytes(content)
        try:
            pruned(opened(store))
        except RepositoryError:
            assert deletes(store) == []
            found += 1
        else:
            assert_whole(store, kept)  # nothing of it was needed
    assert found


def flipped(content: bytearray) -> None:
    """One bit of each 16 bytes is another: whichever part is read has one."""
    for at in range(0, len(content), 16):
        content[at] ^= 1


def read_by_a_prune(store: MemoryStore) -> set[str]:
    pruned(opened(copy_with_calls := copy(store)))
    return {name for verb, _, name in copy_with_calls.calls if verb.startswith("read")}


def test_a_pack_of_which_nothing_is_read_may_be_broken_inside(store: MemoryStore) -> None:
    """`verify --read-data` finds that: what is needed of it is not touched."""
    assert set(store.names(Kind.PACK)) - read_by_a_prune(store)


def test_a_snapshot_of_anybody_counts(store: MemoryStore, kept: dict[str, Files]) -> None:
    """Of another host, and with paths that are not a volume's."""
    files = some_files(random.Random(9))
    other = backed_up(opened(store), files, host="elsewhere")
    pruned(opened(store))
    assert_whole(store, {**kept, other.id: files})


def test_a_snapshot_that_came_meanwhile_stops_it(
    store: MemoryStore, kept: dict[str, Files]
) -> None:
    """Of somebody who works without a lock: at any time until the first delete."""
    repository = opened(store)
    store.write(Kind.PACK, "ab" * 32, [b"of whom works there"])
    planned = plan(repository, ignore)
    files = some_files(random.Random(9))
    late = backed_up(opened(store), files)
    with pytest.raises(RepositoryError, match="was changed meanwhile"):
        carry_out(repository, planned, ignore, ignore)
    assert deletes(store) == []
    assert_whole(store, {**kept, late.id: files})


def test_a_backup_that_came_before_the_lock_is_seen(
    store: MemoryStore, kept: dict[str, Files]
) -> None:
    """A session plans beside others: by the time that it is alone all may be different."""
    repository = opened(store)
    files = some_files(random.Random(9))
    late: list[str] = []

    def meanwhile(verb: str, kind: Kind, name: str) -> None:
        locks = [call for call in store.calls if call[:2] == ("write", Kind.LOCK)]
        if (verb, kind) == ("write", Kind.LOCK) and len(locks) == 2 and not late:
            late.append("")
            late[0] = backed_up(opened(store), files).id

    store.before = meanwhile
    heard = StringIO("\n" * 100)
    access = Access(location="memory:", password="right", host="here", patience=60.0)
    done = prune(repository, Prune(), access, Speech(heard, StringIO()))
    assert done.pruned
    assert done.pruned.snapshots == len(kept) + 1
    assert_whole(store, {**kept, late[0]: files})
    assert store.names(Kind.LOCK) == []


@pytest.mark.parametrize("lost", [Kind.PACK, Kind.INDEX])
def test_a_storage_that_lies_about_a_write_has_nothing_deleted(
    store: MemoryStore, lost: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = store.write

    def lies(kind: Kind, name: str, pieces: list[bytes], *, create: bool = False) -> None:
        if kind is not lost:
            write(kind, name, pieces, create=create)

    monkeypatch.setattr(store, "write", lies)
    with pytest.raises(RepositoryError, match="was changed meanwhile"):
        pruned(opened(store))
    assert deletes(store) == []


def test_a_delete_of_an_index_that_did_not_happen_keeps_the_packs(
    store: MemoryStore, kept: dict[str, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "delete", ignore)
    with pytest.raises(RepositoryError, match="was changed meanwhile"):
        pruned(opened(store))
    assert_whole(store, kept)


def test_an_index_that_lost_a_blob_is_not_built_upon(
    store: MemoryStore, kept: dict[str, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should ever one be written without all that it has to have, nothing is deleted."""
    encode = indexes.encode

    def forgets(packs: list[Pack]) -> bytes:
        return encode(packs[1:])

    repository = opened(store)
    monkeypatch.setattr(indexes, "encode", forgets)
    with pytest.raises(RepositoryError, match="the new index has not"):
        pruned(repository)
    assert deletes(store) == []
    assert_whole(store, kept)


def test_what_was_written_by_the_same_program_is_known() -> None:
    """Its index has what no file was read of."""
    store = MemoryStore()
    repository = new_repository(store)
    kept = with_garbage(repository, random.Random(2), rounds=4)
    pruned(repository)
    assert_whole(store, kept)


def test_a_tree_that_no_pack_has_is_damage(store: MemoryStore) -> None:
    """Not something that was asked for and is not there."""
    repository = opened(store)
    plain = snapshots.encode(new_snapshot(b"\1" * 32))
    unpacked.save(store, repository.master_key, Kind.SNAPSHOT, plain)
    with pytest.raises(Damaged, match="no pack has the tree blob 0101"):
        pruned(repository)
    assert deletes(store) == []


def test_small_packs_are_packed_together_once_there_are_many() -> None:
    """Each backup leaves two, of trees and of data; a few of them are not worth it."""
    store = MemoryStore()
    repository = new_repository(store)
    chance = random.Random(4)
    kept: dict[str, Files] = {}
    for number in range(5):
        assert plan(opened(store), ignore).is_empty
        files = {b"%d" % number: chance.randbytes(500)}
        kept[backed_up(repository, files).id] = files
    assert len(store.names(Kind.PACK)) == 10
    pruned(opened(store))
    assert len(store.names(Kind.PACK)) == 2
    assert_whole(store, kept)
    assert plan(opened(store), ignore).is_empty


def test_many_small_indexes_become_one() -> None:
    """Each backup leaves one."""
    store = MemoryStore()
    kept = with_garbage(new_repository(store), random.Random(2), rounds=24)
    assert len(store.names(Kind.INDEX)) == 24
    pruned(opened(store))
    assert len(store.names(Kind.INDEX)) <= 2
    assert_whole(store, kept)


def test_without_any_snapshot_nothing_goes(store: MemoryStore) -> None:
    """It may be a listing that is wrong, and all of it the only copy."""
    for name in store.names(Kind.SNAPSHOT):
        del store.files[Kind.SNAPSHOT, name]
    with pytest.raises(RepositoryError, match="delete the repository itself"):
        pruned(opened(store))
    assert deletes(store) == []


def test_an_empty_repository_has_nothing_to_prune() -> None:
    assert plan(new_repository(MemoryStore()), ignore).is_empty


def test_packs_that_rustic_has_marked_are_its_own_to_delete(store: MemoryStore) -> None:
    repository = opened(store)
    fields = b'{"packs":[],"packs_to_delete":[{"id":"' + b"ab" * 32 + b'","blobs":[]}]}'
    unpacked.save(store, repository.master_key, Kind.INDEX, fields)
    with pytest.raises(RepositoryError, match="rustic prune"):
        pruned(repository)
    assert deletes(store) == []


@pytest.mark.parametrize(
    "node", [Node(b"d", "dir"), Node(b"f", "file", size=1)], ids=lambda node: node.type
)
def test_a_node_that_does_not_say_what_is_in_it_is_damaged(store: MemoryStore, node: Node) -> None:
    repository = opened(store)
    with Writer(repository) as writer:
        writer.commit(new_snapshot(writer.save(BlobKind.TREE, encode_tree([node]))))
    with pytest.raises(Damaged, match="does not say what is in it"):
        pruned(opened(store))
    assert deletes(store) == []


def test_of_several_copies_one_stays(store: MemoryStore, kept: dict[str, Files]) -> None:
    """Two hosts that stored the same at once have left one each."""
    repository, other = opened(store), opened(store)
    files = some_files(random.Random(5))
    with Writer(repository), Writer(other):
        pass
    chance = random.Random(6)
    ours, theirs = (
        {**files, b"ours": chance.randbytes(9)},
        {**files, b"theirs": chance.randbytes(9)},
    )
    first, second = store_anew(repository, ours), store_anew(other, theirs)
    assert len(list(blobs(opened(store)))) > len(set(blobs(opened(store))))
    pruned(opened(store))
    assert_whole(store, {**kept, first: ours, second: theirs})
    assert len(list(blobs(opened(store)))) == len(needed_by(opened(store)))


def store_anew(repository: Repository, files: Files) -> str:
    """As somebody does whose index is of before the others wrote."""
    index = repository.index
    repository.reload_index = lambda *_: None  # type: ignore[method-assign]
    assert index is repository.index
    return backed_up(repository, files).id


def test_a_pack_of_which_little_is_not_needed_stays() -> None:
    """To pack it anew would cost more than the 5 % that it gives back."""
    store = MemoryStore()
    repository = new_repository(store)
    chance = random.Random(1)
    large = {b"%d" % n: chance.randbytes(100_000) for n in range(10)}
    gone = backed_up(repository, {**large, b"small": chance.randbytes(30_000)}, pack_size=1 << 24)
    stays = backed_up(repository, large, pack_size=1 << 24)
    repository.delete_snapshot(gone.id)
    (data,) = (name for name in store.names(Kind.PACK) if len(store.files[Kind.PACK, name]) > 9e5)
    planned = pruned(opened(store))
    assert 30_000 <= planned.unneeded_bytes < 31_000
    assert data in store.names(Kind.PACK)
    assert_whole(store, {stays.id: large})
