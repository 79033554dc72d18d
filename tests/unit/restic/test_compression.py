"""Frames of zstd give back what went in, and never more than expected."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.restic import compression
from convoy_py.restic.errors import Damaged


@given(st.binary(max_size=2000), st.integers(1, 50))
def test_gives_back_what_went_in(piece: bytes, times: int) -> None:
    plain = piece * times

    assert compression.decompress(compression.compress(plain), len(plain)) == plain


def test_more_than_expected_is_refused_before_it_is_made() -> None:
    bomb = compression.compress(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(Damaged, match="more than the 1000 bytes"):
            compression.decompress(bomb, 1000)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 8 << 20


@pytest.mark.parametrize("change", [lambda f: f[:-1], lambda f: f + b"x", lambda f: f + f])
@pytest.mark.parametrize("plain", [b"", b"data", bytes(600_000)])
def test_only_one_whole_frame_is_taken(plain: bytes, change: object) -> None:
    assert callable(change)

    with pytest.raises(Damaged):
        compression.decompress(change(compression.compress(plain)), len(plain))


@pytest.mark.parametrize("frame", [b"", b"no zstd"])
def test_what_is_no_zstd_is_told(frame: bytes) -> None:
    with pytest.raises(Damaged):
        compression.decompress(frame, 100)
