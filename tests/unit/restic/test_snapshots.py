"""Snapshots say what they said, to us and to others."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.restic import snapshots
from convoy_py.restic.errors import Damaged
from convoy_py.restic.snapshots import Snapshot

TEXT = st.text(max_size=8)
SNAPSHOTS = st.builds(
    Snapshot,
    id=st.just("ab" * 32),
    time=st.datetimes(timezones=st.just(timezone(timedelta(hours=5, minutes=45)))),
    tree=st.binary(min_size=32, max_size=32),
    paths=st.lists(TEXT).map(tuple),
    hostname=TEXT,
    username=TEXT,
    uid=st.integers(0, 1 << 31),
    tags=st.lists(TEXT).map(tuple),
    parent=TEXT,
    original=TEXT,
    program_version=TEXT,
    summary=st.dictionaries(TEXT, st.integers()),
    others=st.dictionaries(st.sampled_from(["label", "delete", "excludes"]), TEXT),
)
GOOD = {"time": "2026-07-01T14:30:15.123456789+02:00", "tree": "ab" * 32, "paths": ["/a"]}


@given(SNAPSHOTS)
def test_a_snapshot_is_read_back(snapshot: Snapshot) -> None:
    assert snapshots.decode(snapshot.id, json.loads(snapshots.encode(snapshot))) == snapshot


@pytest.mark.parametrize(
    ("time", "microsecond"),
    [
        ("2026-07-01T14:30:15.123456789+02:00", 123456),
        ("2026-07-01T12:30:15.5Z", 500000),
        ("2026-07-01T12:30:15Z", 0),
    ],
)
def test_times_of_restic_are_read(time: str, microsecond: int) -> None:
    read = snapshots.decode("", GOOD | {"time": time}).time

    assert read == datetime(2026, 7, 1, 12, 30, 15, microsecond, tzinfo=UTC)
    assert read.utcoffset() == timedelta(hours=2 if "+" in time else 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"time": "yesterday"},
        {"time": "2026-07-01T12:30:15"},
        {"time": 1},
        {"tree": "ab"},
        {"tree": None},
    ],
    ids=str,
)
def test_without_a_time_and_a_tree_it_is_none(fields: dict[str, Any]) -> None:
    with pytest.raises(Damaged, match="snapshots/cd"):
        snapshots.decode("cd", GOOD | fields)


def test_fields_that_are_left_out_or_odd_are_empty() -> None:
    read = snapshots.decode("", GOOD | {"tags": None, "hostname": 5, "uid": "0"})

    assert (read.tags, read.hostname, read.uid, read.paths) == ((), "", 0, ("/a",))
