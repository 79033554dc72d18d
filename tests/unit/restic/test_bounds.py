"""What no storage may fill the memory with: listings, and what only seems to be a blob."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.restic import unpacked
from convoy_py.restic.errors import Damaged, StoreFailed
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.stores import bounds
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.stores.bounds import Listing
from convoy_py.restic.stores.json_list import JsonList
from tests.fakes_restic import MemoryStore

KEY = MasterKey.new()
NAMES = [f"{number:064x}" for number in range(5)]


def read(text: bytes, cut: int) -> tuple[list[Any], bool]:
    """What a list that comes in pieces of so many bytes has, and whether it came to its end."""
    found: list[Any] = []
    of = JsonList()
    for start in range(0, len(text), cut):
        found += of.add(text[start : start + cut])
    return found, of.is_whole


@given(
    st.lists(st.dictionaries(st.text(), st.text() | st.integers(0) | st.lists(st.integers()))),
    st.integers(1, 50),
    st.booleans(),
)
def test_a_list_is_read_in_whatever_pieces_it_comes(
    items: list[Any], cut: int, spacious: bool
) -> None:
    text = json.dumps(items, indent=1 if spacious else None, ensure_ascii=not spacious)
    assert read(text.encode(), cut) == (items, True)


@pytest.mark.parametrize("text", [b"", b"[", b'[{"a":1}', b'[{"a":1},', b'[{"a":1', b'[{"a":"'])
def test_a_list_that_is_cut_off_is_not_whole(text: bytes) -> None:
    assert not read(text, 100)[1]


@pytest.mark.parametrize(
    "text",
    [
        *(b"{}", b"null", b"[1]", b"[,{}]", b"[{}{}]", b"[{},]", b"[]]", b"[]{}", b"[{}]x"),
        *(b"[" + b"[" * 100_000, b'[{"a":' + b"[" * 100_000, b'[{"a":"' + b"x" * 100_000),
        b"[{\xff}]",
    ],
    ids=lambda text: text[:12].decode(errors="replace"),
)
def test_what_is_no_list_is_told(text: bytes) -> None:
    """Without an end, or nested without one, it is not kept."""
    with pytest.raises(ValueError, match=r".+"):
        read(text, 30_000)


def _endless() -> Iterator[bytes]:
    yield b"["
    while True:
        yield b'{"name":"x","size":1},'


def test_a_listing_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bears no id, and is not kept, counts."""
    monkeypatch.setitem(bounds.MOST, Kind.LOCK, 1000)
    listing = Listing(Kind.LOCK, "there")
    with pytest.raises(StoreFailed, match="there lists more than 1000 locks"):
        _fill(listing, _endless())
    assert list(listing) == []


def _fill(listing: Listing, pieces: Iterator[bytes]) -> None:
    of = JsonList()
    for piece in pieces:
        for each in of.add(piece):
            listing.add(each["name"], each["size"])


def test_a_listing_gives_what_was_added() -> None:
    listing = Listing(Kind.PACK, "there")
    for size, name in enumerate(NAMES):
        listing.add(name, size)
    listing.add("README", 1)
    assert list(listing) == [(name, size) for size, name in enumerate(NAMES)]


@pytest.mark.parametrize("size", [-1, 1 << 64])
def test_a_size_that_is_none_is_told(size: int) -> None:
    with pytest.raises(ValueError, match="no size"):
        Listing(Kind.PACK, "there").add(NAMES[0], size)


@pytest.mark.parametrize("kind", [Kind.SNAPSHOT, Kind.LOCK])
def test_what_is_small_and_becomes_large_is_damage(kind: Kind) -> None:
    """As of somebody who has the password."""
    store = MemoryStore()
    name = unpacked.save(store, KEY, kind, b'{"a":"' + b"x" * bounds.LARGEST[kind] + b'"}')
    assert len(store.files[kind, name]) < 10_000
    with pytest.raises(Damaged, match=f"{kind.value}/{name}: decompressed it has more than"):
        unpacked.load(store, KEY, kind, name)


@pytest.mark.parametrize("depth", [1000, 400_000])
def test_what_is_nested_deeply_is_damage(depth: int) -> None:
    store = MemoryStore()
    name = unpacked.save(store, KEY, Kind.SNAPSHOT, b'{"a":' + b"[" * depth + b"]" * depth + b"}")
    try:
        unpacked.load(store, KEY, Kind.SNAPSHOT, name)
    except Damaged as error:
        assert "it is not JSON" in str(error)  # noqa: PT017 - some Pythons read the lesser depth
    else:
        assert depth == 1000


def test_a_file_that_is_too_long_is_told_with_its_place_once() -> None:
    store = MemoryStore()
    store.files[Kind.LOCK, NAMES[0]] = bytes(bounds.LARGEST[Kind.LOCK] + 1)
    with pytest.raises(Damaged, match=f"^locks/{NAMES[0]}: it has more than the 1048576 bytes"):
        unpacked.load(store, KEY, Kind.LOCK, NAMES[0])
