"""Contents cut into chunks, and zeros among them: there and back."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.restic.chunks import CHUNK, RUN, Kept, chunk_size, folded, unfolded, zero_id

GIB = 1 << 30
DATA = [hashlib.sha256(b"%d" % number).digest() for number in range(3)]


def lengths(ids: list[bytes], size: int) -> dict[bytes, int]:
    """What an index knows of the chunks of a file and of zeros."""
    chunk = chunk_size(size)
    known = dict.fromkeys(DATA, chunk)
    if size % chunk:
        known[ids[-1]] = size % chunk
    return known | {zero_id(length): length for length in (CHUNK, 2 * CHUNK, RUN)}


@given(
    runs=st.lists(st.tuples(st.integers(1, 70), st.sampled_from([*DATA, b""])), max_size=8),
    tail=st.integers(0, CHUNK - 1),
)
def test_chunks_are_found_again(runs: list[tuple[int, bytes]], tail: int) -> None:
    """However long the runs of zeros are, and where they begin."""
    ids = [name or zero_id(CHUNK) for count, name in runs for _ in range(count)]
    are_found_again(ids, tail)


def test_larger_chunks_are_found_again() -> None:
    zeros = [zero_id(2 * CHUNK)]
    rest = [DATA[1]] * (256 * GIB // (2 * CHUNK))
    are_found_again([*zeros * 5, DATA[0], *zeros * 50, DATA[0], *zeros * 9, *rest], 7)


def are_found_again(ids: list[bytes], tail: int) -> None:
    size = len(ids) * (2 * CHUNK if zero_id(2 * CHUNK) in ids else CHUNK) + tail
    if tail:
        ids.append(hashlib.sha256(b"tail").digest())
    known = lengths(ids, size)
    content = folded(ids, size)
    assert sum(known[name] for name in content) == size
    assert unfolded(content, size, known.get) == ids


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (DATA[:1], CHUNK + 1),
        (DATA[:2], 2 * CHUNK - 1),
        ([DATA[0], zero_id(RUN), DATA[1]], RUN + 2 * CHUNK + 1),
        ([DATA[0]], 300 * GIB),
        ([hashlib.sha256(b"unknown").digest()], CHUNK),
    ],
)
def test_what_was_cut_otherwise_is_told(content: list[bytes], size: int) -> None:
    """Such as by restic, or with a blob that is not there."""
    assert unfolded(content, size, lengths([], CHUNK).get) is None


def test_chunk_is_kept_unless_a_change_touches_it() -> None:
    ids = [b"%d" % i for i in range(6)]
    kept = Kept(ids, 5 * CHUNK + 10, [(CHUNK, CHUNK + 1), (3 * CHUNK - 1, 4 * CHUNK)])
    places = [(i * CHUNK, (i + 1) * CHUNK) for i in range(5)]
    assert [kept.chunk(*place) for place in places] == [b"0", None, None, None, b"4"]
    assert kept.chunk(5 * CHUNK, 5 * CHUNK + 10) == b"5"


@pytest.mark.parametrize("size", [5 * CHUNK + 9, 5 * CHUNK + 11, 6 * CHUNK])
def test_chunk_of_another_length_is_not_kept(size: int) -> None:
    """The file was cut off within it, or goes on."""
    kept = Kept([b"%d" % i for i in range(6)], 5 * CHUNK + 10, ())
    assert kept.chunk(5 * CHUNK, size) is None
    assert kept.chunk(6 * CHUNK, 7 * CHUNK) is None
