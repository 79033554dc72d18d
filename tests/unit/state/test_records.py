"""A record is read as it was written, or not at all."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Spec
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import Record, decode, encode

RECORD = Record(
    name="db",
    uuid="01234567-89ab-4def-8123-456789abcdef",
    created=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    spec=Spec(
        backend="loopback",
        size=2**30,
        fs=Filesystem.EXT4,
        sparse=True,
        uid=999,
        gid=998,
        mode=0o2770,
        mount_options=("noatime",),
    ),
)


def test_a_record_survives_its_file() -> None:
    """What was encoded is decoded, to the microsecond."""
    assert decode(encode(RECORD), "db") == RECORD


@given(st.data())
def test_no_flipped_bit_goes_unnoticed(data: st.DataObject) -> None:
    """A record with any one bit changed is unreadable or means the same; it never means another."""
    good = encode(RECORD)
    position = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[position] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(Unreadable):
        assert decode(bytes(bad), "db") == RECORD


@pytest.mark.parametrize("cut", [0, 1, 50, 200])
def test_a_truncated_record_is_unreadable(cut: int) -> None:
    """Half a file is no file."""
    with pytest.raises(Unreadable):
        decode(encode(RECORD)[:cut], "db")


def test_a_zeroed_record_is_unreadable() -> None:
    """Blocks that a crash left as zeros are no record."""
    with pytest.raises(Unreadable):
        decode(bytes(len(encode(RECORD))), "db")


def test_a_record_in_another_volumes_folder_is_unreadable() -> None:
    """A copied folder does not become a second volume with the same identity."""
    with pytest.raises(Unreadable, match="record of 'db'"):
        decode(encode(RECORD), "other")


def test_a_record_of_a_name_that_no_volume_can_have_is_unreadable() -> None:
    """It would lead out of the root."""
    with pytest.raises(Unreadable, match="record of"):
        decode(encode(RECORD.model_copy(update={"name": "../x"})), "../x")


@pytest.mark.parametrize("content", [b"[]", b"null", b'"x"', b"{}", b'{"format": 1}', b"\xff\xfe"])
def test_other_json_is_no_record(content: bytes) -> None:
    """The reader does not trip over the wrong types."""
    with pytest.raises(Unreadable):
        decode(content, "db")
