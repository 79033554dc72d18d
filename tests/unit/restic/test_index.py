"""The index knows each blob that any file of it lists, in little memory."""

import gc
import hashlib
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.restic import index as indexes
from convoy_py.restic import unpacked
from convoy_py.restic.errors import Damaged, NotFound
from convoy_py.restic.index import Index
from convoy_py.restic.packs import Blob, BlobKind, Pack
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.stores.base import Kind
from tests.fakes_restic import MemoryStore

KEY = MasterKey.new()
INT = st.integers(0, (1 << 32) - 1)
BLOBS = st.builds(
    Blob,
    st.sampled_from(BlobKind),
    st.sampled_from([bytes([n]) * 32 for n in (0, 1, 255)]) | st.binary(min_size=32, max_size=32),
    INT,
    st.integers(33, 128 << 20),
    st.integers(0, 1 << 20),
)
PACKS = st.lists(
    st.builds(Pack, st.binary(min_size=32, max_size=32), st.lists(BLOBS, max_size=5)), max_size=5
)


def blob(number: int, kind: BlobKind = BlobKind.DATA) -> Blob:
    return Blob(kind, hashlib.sha256(b"%d" % number).digest(), 100 * number, 100, 200)


def put(store: MemoryStore, packs: list[Pack]) -> str:
    return unpacked.save(store, KEY, Kind.INDEX, indexes.encode(packs))


def loaded(store: MemoryStore) -> Index:
    index = Index()
    index.load(store, KEY)
    return index


@given(PACKS)
def test_a_file_is_read_back(packs: list[Pack]) -> None:
    assert list(indexes.decode(json.loads(indexes.encode(packs)))) == packs


@given(PACKS, PACKS)
def test_every_copy_of_every_blob_is_found(first: list[Pack], second: list[Pack]) -> None:
    store = MemoryStore()
    put(store, first)
    index = loaded(store)
    index.add_file("session", second)

    for kind, name in {(b.kind, b.id) for pack in first + second for b in pack.blobs}:
        expected = {
            (pack.id, b)
            for pack in first + second
            for b in pack.blobs
            if (b.kind, b.id) == (kind, name)
        }
        assert set(index.places(kind, name)) == expected
        assert (kind, name) in index


def test_a_blob_of_the_other_kind_is_another() -> None:
    store = MemoryStore()
    put(store, [Pack(bytes(32), [blob(1)])])
    index = loaded(store)

    assert (BlobKind.TREE, blob(1).id) not in index
    with pytest.raises(NotFound, match="no pack has the tree blob"):
        index.place(BlobKind.TREE, blob(1).id)
    assert index.place(BlobKind.DATA, blob(1).id) == (bytes(32), blob(1))


def test_a_blob_takes_less_than_60_bytes() -> None:
    """A pack for each 32 of them; what any index takes is left out."""
    few, many = 4_000, 16_000

    assert (memory(many) - memory(few)) / (many - few) < 60


def memory(count: int) -> int:
    """The bytes of an index of so many blobs."""
    store = MemoryStore()
    for first in range(0, count, 2_000):
        packs = [
            Pack(hashlib.sha256(b"p%d" % n).digest(), [blob(n + i) for i in range(32)])
            for n in range(first, first + 2_000, 32)
        ]
        put(store, packs)
    tracemalloc.start()
    try:
        index = loaded(store)
        gc.collect()  # Python keeps some of what was freed
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert index.count >= count
    return taken


def test_the_end_of_the_trees_of_a_pack_is_known_however_they_are_listed() -> None:
    store = MemoryStore()
    put(store, [Pack(bytes(32), [blob(n, BlobKind.TREE) for n in (2, 9, 4)])])

    assert loaded(store).end(bytes(32)) == 1000


def test_only_new_files_are_read() -> None:
    store = MemoryStore()
    put(store, [Pack(bytes(32), [blob(1)])])
    index = loaded(store)
    new = put(store, [Pack(bytes(32), [blob(2)])])
    store.calls.clear()

    index.load(store, KEY)

    assert [name for verb, _, name in store.calls if verb == "read"] == [new]
    assert index.count == 2


def test_what_was_deleted_is_forgotten() -> None:
    store = MemoryStore()
    old = put(store, [Pack(bytes(32), [blob(1), blob(2)])])
    index = loaded(store)
    store.delete(Kind.INDEX, old)
    put(store, [Pack(bytes(32), [blob(2)])])

    index.load(store, KEY)

    assert (BlobKind.DATA, blob(1).id) not in index
    assert (BlobKind.DATA, blob(2).id) in index


def test_a_file_that_goes_while_they_are_read_is_left_out() -> None:
    store = MemoryStore()
    gone, _ = sorted(put(store, [Pack(bytes(32), [blob(number)])]) for number in (1, 2))

    def meanwhile(verb: str, kind: Kind, name: str) -> None:
        if verb == "read":
            store.files.pop((kind, gone), None)

    store.before = meanwhile
    assert loaded(store).count == 1


def test_a_broken_file_is_told_once_and_the_rest_is_known() -> None:
    store = MemoryStore()
    put(store, [Pack(bytes(32), [blob(1)])])
    broken = put(store, [Pack(bytes(32), [blob(2)])])
    store.files[Kind.INDEX, broken] = store.files[Kind.INDEX, broken][:-1]
    told: list[str] = []
    index = Index()

    with pytest.raises(Damaged, match=f"index/{broken}"):
        index.load(store, KEY)
    for _ in range(2):
        index.load(store, KEY, lambda error: told.append(str(error)))

    assert len(told) == 1
    assert (BlobKind.DATA, blob(1).id) in index


def test_a_pack_that_is_to_be_deleted_is_not_there() -> None:
    fields = {"packs": [], "packs_to_delete": [{"id": "00" * 32, "blobs": []}], "supersedes": []}

    assert list(indexes.decode(fields)) == []


GOOD = {"id": "ab" * 32, "type": "data", "offset": 0, "length": 40}


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "ab"},
        {"id": 1},
        {"type": "other"},
        {"offset": -1},
        {"offset": 1 << 32},
        {"length": True},
        {"length": 32},
        {"uncompressed_length": "1"},
        {"uncompressed_length": 129 << 20},
        {"length": 130 << 20},
    ],
    ids=str,
)
def test_blobs_of_another_form_are_damage(fields: dict[str, Any]) -> None:
    def index(blob: dict[str, Any]) -> Any:
        return {"packs": [{"id": "00" * 32, "blobs": [blob]}]}

    store = MemoryStore()
    unpacked.save(store, KEY, Kind.INDEX, json.dumps(index(GOOD | fields)).encode())

    assert list(indexes.decode(index(GOOD)))
    with pytest.raises(Damaged):
        list(indexes.decode(index(GOOD | fields)))
    with pytest.raises(Damaged, match="what is no blob"):
        loaded(store)


@pytest.mark.parametrize(
    "fields", [[], {}, {"packs": {}}, {"packs": [1]}, {"packs": [{"id": "x"}]}]
)
def test_what_is_no_index_is_damage(fields: Any) -> None:
    with pytest.raises(Damaged):
        list(indexes.decode(fields))
