"""What is sealed opens to the same bytes, and to nothing once a bit of it was changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.restic.errors import Damaged
from convoy_py.restic.seal import OVERHEAD, MasterKey

KEY = MasterKey(b"e" * 32, b"k" * 16, b"r" * 16)


@given(st.binary(max_size=200))
def test_opens_to_what_was_sealed(plain: bytes) -> None:
    sealed = KEY.seal(plain)

    assert KEY.open(sealed) == plain
    assert len(sealed) == len(plain) + OVERHEAD
    assert KEY.seal(plain) != sealed


def test_every_flipped_bit_is_found() -> None:
    sealed = KEY.seal(b"data")

    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged, match="seal is broken"):
            KEY.open(flipped)


@pytest.mark.parametrize("length", range(OVERHEAD + 4))
def test_truncation_is_found(length: int) -> None:
    with pytest.raises(Damaged):
        KEY.open(KEY.seal(b"data")[:length])


def test_another_key_does_not_open() -> None:
    with pytest.raises(Damaged):
        MasterKey.new().open(KEY.seal(b"data"))


def test_signs_as_the_paper_on_poly1305_aes() -> None:
    """The first example of its appendix B; what it signs is our cipher text."""
    key = MasterKey(
        b"e" * 32,
        bytes.fromhex("ec074c835580741701425b623235add6"),
        bytes.fromhex("851fc40c3467ac0be05cc20404f3f700"),
    )
    nonce = bytes.fromhex("fb447350c4e868c52ac3275cf9d4327e")
    tag = bytes.fromhex("f4c633c3044fc145f84f335cb81953de")

    assert len(key.open(nonce + bytes.fromhex("f3f6") + tag)) == 2


def test_a_nonce_of_zeros_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_bytes", bytes)

    with pytest.raises(Damaged, match="nonce"):
        KEY.open(KEY.seal(b"data"))


def test_shows_nothing_of_itself() -> None:
    assert repr(KEY) == "MasterKey()"


@pytest.mark.parametrize("sizes", [(31, 16, 16), (32, 15, 16), (32, 16, 17)])
def test_parts_have_fixed_sizes(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(Damaged, match="32, 16 and 16"):
        MasterKey(*map(bytes, sizes))
