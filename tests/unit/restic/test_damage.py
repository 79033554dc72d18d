"""Whatever bit of a repository is flipped or cut off: it is found, and no wrong byte returned."""

import os
import random
from dataclasses import dataclass, field

import pytest

from convoy_py.restic import index as indexes
from convoy_py.restic.errors import RepositoryError
from convoy_py.restic.nodes import Node, encode_tree
from convoy_py.restic.packs import BlobKind
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.writer import Writer
from tests.fakes_restic import MemoryStore, new_repository, new_snapshot

CONTENTS = [os.urandom(900), b"words " * 400, bytes(5000), b"x", *map(os.urandom, (50, 3000, 33))]


@pytest.fixture(scope="module")
def whole() -> MemoryStore:
    """Two snapshots, two index files, several packs of each kind."""
    store = MemoryStore()
    repository = new_repository(store)
    for part in (CONTENTS[:4], CONTENTS[3:]):
        with Writer(repository, pack_size=2000) as writer:
            nodes = [
                Node(b"%d" % n, "file", content=[writer.save(BlobKind.DATA, content)])
                for n, content in enumerate(part)
            ]
            inner = writer.save(BlobKind.TREE, encode_tree(nodes))
            top = writer.save(BlobKind.TREE, encode_tree([Node(b"d", "dir", subtree=inner)]))
            writer.commit(new_snapshot(top))
    return store


@dataclass
class Reading:
    """All that can be read of a repository, and what was wrong on the way."""

    contents: set[bytes] = field(default_factory=set)
    names: set[bytes] = field(default_factory=set)
    errors: list[RepositoryError] = field(default_factory=list)

    def of(self, store: MemoryStore) -> "Reading":
        try:
            repository = Repository.open(store, "right")
            repository.reload_index(self.errors.append)
        except RepositoryError as error:
            self.errors.append(error)
            return self
        for name in store.names(Kind.SNAPSHOT):
            try:
                self._tree(repository, repository.snapshot(name).tree)
            except RepositoryError as error:
                self.errors.append(error)
        for name in store.names(Kind.INDEX):
            self._packs(repository, name)
        return self

    def _tree(self, repository: Repository, name: bytes) -> None:
        for node in repository.read_tree(name):
            self.names.add(node.name)
            if node.subtree:
                self._tree(repository, node.subtree)
            for blob in node.content or []:
                try:
                    self.contents.add(repository.read_blob(BlobKind.DATA, blob))
                except RepositoryError as error:
                    self.errors.append(error)

    def _packs(self, repository: Repository, name: str) -> None:
        try:
            packs = indexes.load_file(repository.store, repository.master_key, name)
        except RepositoryError as error:
            self.errors.append(error)
            return
        for pack in packs:
            try:
                pack.check(repository.master_key, repository.store.read(Kind.PACK, pack.id.hex()))
            except RepositoryError as error:
                self.errors.append(error)


def harmed(whole: MemoryStore, chance: random.Random) -> tuple[MemoryStore, Kind]:
    """A copy with one bit flipped, or one file cut, doubled, gone or under another's name."""
    store = MemoryStore()
    store.files = dict(whole.files)
    key = chance.choice(list(store.files))
    content = bytearray(store.files[key])
    match chance.choice(["flip"] * 6 + ["cut"] * 3 + ["gone", "longer", "other"]):
        case "flip":
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        case "cut":
            del content[chance.randrange(len(content)) :]
        case "longer":
            content += content[-20:]
        case "other":
            content = bytearray(chance.choice([c for k, c in store.files.items() if k != key]))
        case _:
            content = bytearray()
    store.files[key] = bytes(content)
    return store, key[0]


def judge(whole: MemoryStore, seed: int) -> Kind:
    """Harm by chance, and what must hold after any; the kind of file that was harmed."""
    store, kind = harmed(whole, random.Random(seed))

    reading = Reading().of(store)

    assert reading.errors, f"harm {seed} of {kind} was not found"
    assert reading.contents <= set(CONTENTS)
    assert reading.names <= {b"d", b"0", b"1", b"2", b"3"}
    if kind is Kind.SNAPSHOT:
        assert reading.contents  # the other one is whole
    return kind


def test_a_whole_one_is_read_without_complaint(whole: MemoryStore) -> None:
    reading = Reading().of(whole)

    assert reading.errors == []
    assert reading.contents == set(CONTENTS)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_all_harm_is_found(whole: MemoryStore, first: int) -> None:
    for seed in range(first, first + 20):
        judge(whole, seed)


@pytest.mark.parametrize("kind", [Kind.PACK, Kind.INDEX])
def test_the_next_backup_mends_what_it_can(whole: MemoryStore, kind: Kind) -> None:
    """Without an index file its blobs are stored again, and all is there."""
    store = MemoryStore()
    store.files = dict(whole.files)
    lost = store.names(Kind.INDEX)[0]
    store.files[Kind.INDEX, lost] = b"broken"
    if kind is Kind.PACK:
        store.delete(Kind.INDEX, lost)  # as `restic repair packs` leaves it
    repository = Repository.open(store, "right")
    repository.reload_index(lambda error: None)

    with Writer(repository) as writer:
        names = [writer.save(BlobKind.DATA, content) for content in CONTENTS]
        writer.flush()

    assert 0 < writer.counters.blobs_new < len(CONTENTS)
    assert [repository.read_blob(BlobKind.DATA, name) for name in names] == CONTENTS
