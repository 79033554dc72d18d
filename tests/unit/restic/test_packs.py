"""Packs list what they hold, to the byte."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.restic import packs
from convoy_py.restic.compression import compress
from convoy_py.restic.errors import Damaged
from convoy_py.restic.packs import Blob, BlobKind, Pack, PackFile
from convoy_py.restic.seal import MasterKey

KEY = MasterKey(b"e" * 32, b"k" * 16, b"r" * 16)


def made(kind: BlobKind, contents: list[tuple[bytes, bool]]) -> tuple[Pack, bytes]:
    """A pack of blobs, each compressed or plain, and the bytes of its file."""
    pack = PackFile(kind)
    for plain, compressed in contents:
        sealed = KEY.seal(compress(plain) if compressed else plain)
        pack.add(hashlib.sha256(plain).digest(), sealed, len(plain) if compressed else 0)
    listed = pack.finish(KEY)
    return listed, b"".join(pack.pieces)


@given(
    st.sampled_from(BlobKind),
    st.lists(st.tuples(st.binary(min_size=1, max_size=50), st.booleans()), min_size=1, max_size=8),
)
def test_header_and_size_are_what_the_index_says(
    kind: BlobKind, contents: list[tuple[bytes, bool]]
) -> None:
    listed, stored = made(kind, contents)

    blobs = packs.read_file(KEY, stored)

    assert blobs == listed.blobs
    assert [b.open(KEY, stored[b.offset : b.offset + b.length]) for b in blobs] == [
        plain for plain, _ in contents
    ]
    assert [b.size for b in blobs] == [len(plain) for plain, _ in contents]
    entries = sum(41 if b.plain_length else 37 for b in blobs)
    assert len(stored) == listed.size == sum(b.length for b in blobs) + 36 + entries
    assert hashlib.sha256(stored).digest() == listed.id


@pytest.mark.parametrize("cut", [1, 4, 5, 60, 100])
def test_a_pack_that_was_cut_is_damage(cut: int) -> None:
    _, stored = made(BlobKind.DATA, [(b"data", False)])

    with pytest.raises(Damaged):
        packs.read_file(KEY, stored[:-cut])


@pytest.mark.parametrize(
    ("size", "length"),
    [(100, 0), (100, 32), (100, 101), (100, (1 << 32) - 1), (18 << 20, 17 << 20)],
)
def test_a_length_of_the_header_that_cannot_be_is_damage(size: int, length: int) -> None:
    with pytest.raises(Damaged, match="impossible length"):
        packs.read_file(KEY, bytes(size) + length.to_bytes(4, "little"))


@pytest.mark.parametrize(
    "header", [b"\4" + bytes(40), b"\0" + bytes(35), b"\2" + bytes(36), bytes(37)], ids=str
)
def test_entries_of_another_form_are_damage(header: bytes) -> None:
    sealed = KEY.seal(header)

    with pytest.raises(Damaged):
        packs.read_file(KEY, sealed + len(sealed).to_bytes(4, "little"))


def test_a_gap_before_the_header_is_damage() -> None:
    listed, stored = made(BlobKind.DATA, [(b"data", False)])

    with pytest.raises(Damaged, match="another size"):
        packs.read_file(KEY, b"x" + stored)
    assert packs.read_file(KEY, stored) == listed.blobs


@pytest.mark.parametrize(("size", "target", "count"), [(500, 1000, 2), (33, packs.TARGET, 50_000)])
def test_a_pack_is_full_at_its_target_or_with_many_blobs(
    size: int, target: int, count: int
) -> None:
    pack = PackFile(BlobKind.DATA, target)
    while not pack.full:
        pack.add(bytes(32), bytes(size), 0)

    assert len(pack.blobs) == count


def test_a_blob_is_its_hash() -> None:
    """A seal that is whole, of other bytes than those asked for, is not enough."""
    sealed = KEY.seal(b"other")

    with pytest.raises(Damaged, match="its bytes are others"):
        Blob(BlobKind.DATA, hashlib.sha256(b"data").digest(), 0, len(sealed)).open(KEY, sealed)


@pytest.mark.parametrize(
    ("length", "plain_length"), [(32, 0), (0, 0), (100, 513 << 20), (520 << 20, 0), (520 << 20, 9)]
)
@pytest.mark.parametrize("kind", BlobKind)
def test_a_blob_has_bytes_and_a_bound(kind: BlobKind, length: int, plain_length: int) -> None:
    with pytest.raises(Damaged):
        Blob(kind, bytes(32), 0, length, plain_length)


def test_a_tree_may_be_larger_than_what_is_of_a_file() -> None:
    Blob(BlobKind.TREE, bytes(32), 0, 100, 200 << 20)
    with pytest.raises(Damaged):
        Blob(BlobKind.DATA, bytes(32), 0, 100, 200 << 20)


@pytest.mark.parametrize("told", [1, 5 << 10, 128 << 20])
def test_a_blob_has_the_bytes_that_are_told(told: int) -> None:
    """Neither more, which would fill the memory, nor fewer, which would leave a gap in a file."""
    plain = bytes(4 << 10)
    sealed = KEY.seal(compress(plain))

    with pytest.raises(Damaged, match=r"data blob .* bytes"):
        Blob(BlobKind.DATA, hashlib.sha256(plain).digest(), 0, len(sealed), told).open(KEY, sealed)


def test_a_check_finds_each_flipped_bit_and_a_wrong_list() -> None:
    listed, stored = made(BlobKind.DATA, [(b"data", False), (b"more" * 9, True)])

    for bit in range(0, len(stored) * 8, 7):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged, match="do not hash"):
            listed.check(KEY, flipped)

    Pack(listed.id, listed.blobs[::-1]).check(KEY, stored)
    with pytest.raises(Damaged, match="other blobs"):
        Pack(listed.id, listed.blobs[:1]).check(KEY, stored)


def test_a_check_opens_each_blob() -> None:
    """A pack whose writer had bad memory hashes to its name all the same."""
    pack = PackFile(BlobKind.DATA)
    pack.add(hashlib.sha256(b"data").digest(), KEY.seal(b"dada"), 0)
    listed = pack.finish(KEY)

    with pytest.raises(Damaged, match="its bytes are others"):
        listed.check(KEY, b"".join(pack.pieces))
