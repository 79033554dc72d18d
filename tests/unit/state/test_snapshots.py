"""Snapshot records: kept within their volume, whole or not there, and never another's."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy_py.errors import AlreadyExists, OperationFailed
from convoy_py.models.snapshot import Consistency, Way
from convoy_py.models.volume import Spec
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import (
    Record,
    SnapshotRecord,
    decode_snapshot,
    encode,
    encode_snapshot,
)
from convoy_py.state.snapshots import SnapshotStore, uuid_of
from convoy_py.state.store import Store

UUID = "01234567-89ab-4def-8123-456789abcdef"
RECORD = SnapshotRecord(
    name="nightly",
    uuid=UUID,
    created=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    spec=Spec(backend="directory", uid=999, mount_options=("ro",)),
    way=Way.FILES,
    consistency=Consistency.PAUSED,
    group="0123456789abcdef",
    automatic=True,
)
OF_A_VOLUME = encode(Record(name="nightly", uuid=UUID, created=RECORD.created, spec=RECORD.spec))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Of a root with a volume's folder `db`."""
    store = Store(tmp_path)
    store.open("a test")
    store.home("db").mkdir()
    return store


@pytest.fixture
def snapshots(store: Store) -> SnapshotStore:
    return SnapshotStore(store)


def test_a_record_survives_its_file() -> None:
    """What was encoded is decoded, to the microsecond."""
    assert decode_snapshot(encode_snapshot(RECORD), "nightly") == RECORD


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (encode_snapshot(RECORD), "other", "it is the record of 'nightly'"),
        (encode_snapshot(RECORD)[:-20], "nightly", "not a snapshot record"),
        (encode_snapshot(RECORD).replace(b"999", b"998"), "nightly", "checksum does not match"),
        (
            OF_A_VOLUME.replace(b'"format": 9', b'"format": 1'),
            "nightly",
            "not a snapshot record",
        ),
        (
            encode_snapshot(RECORD).replace(b'"format": 8', b'"format": 9'),
            "nightly",
            "its format 9 is newer than 8",
        ),
        (encode_snapshot(RECORD.model_copy(update={"name": "../x"})), "../x", "record of"),
        (
            OF_A_VOLUME.replace(b'"volume"', b'"snapshot"').replace(b'"format": 9', b'"format": 1'),
            "nightly",
            "its content is not a snapshot",
        ),
    ],
)
def test_what_is_no_record_of_it_is_unreadable(data: bytes, name: str, said: str) -> None:
    """With the reason; it is never guessed at."""
    with pytest.raises(Unreadable, match=said):
        decode_snapshot(data, name)


def test_it_is_there_when_it_is_committed(snapshots: SnapshotStore) -> None:
    """And not a moment before; while it is taken its folder tells which it is."""
    staging = snapshots.stage("db", UUID)
    assert uuid_of(staging) == UUID
    assert snapshots.load("db") == {}
    assert snapshots.half_made() == [("db", staging)]
    snapshots.commit(staging, "db", RECORD)
    assert snapshots.load("db") == {"nightly": RECORD}
    assert snapshots.half_made() == []


def test_a_name_is_taken_once(snapshots: SnapshotStore) -> None:
    """Of one volume; the second stays where it was staged."""
    snapshots.commit(snapshots.stage("db", UUID), "db", RECORD)
    second = snapshots.stage("db", UUID)
    with pytest.raises(AlreadyExists, match="snapshot db@nightly already exists"):
        snapshots.commit(second, "db", RECORD)
    assert snapshots.half_made() == [("db", second)]


def test_one_that_lost_its_name_is_as_one_half_made(snapshots: SnapshotStore, store: Store) -> None:
    """A deletion that is cut off is gone on with by the next start; or it is given back."""
    snapshots.commit(snapshots.stage("db", UUID), "db", RECORD)
    home = snapshots.home("db", "nightly")
    unnamed = snapshots.unname(home, UUID)
    assert uuid_of(unnamed) == UUID
    assert (snapshots.load("db"), snapshots.half_made()) == ({}, [("db", unnamed)])
    store.put_back(unnamed, home)
    assert snapshots.load("db") == {"nightly": RECORD}


def test_a_damaged_record_is_one_damaged_snapshot(snapshots: SnapshotStore) -> None:
    """Told with its file; folders that can be nobody's snapshot are not looked at."""
    snapshots.commit(snapshots.stage("db", UUID), "db", RECORD)
    folder = snapshots.home("db", "nightly").parent
    for name in ("empty", ".hidden", "lost+found"):
        (folder / name).mkdir()
    found = snapshots.load("db")
    assert set(found) == {"nightly", "empty"}
    assert str(found["empty"]) == f"{folder}/empty/snapshot.json: No such file or directory"


def test_of_an_unknown_volume_there_are_none(snapshots: SnapshotStore) -> None:
    """Nor can one be made."""
    assert snapshots.load("web") == {}
    with pytest.raises(OperationFailed):
        snapshots.stage("web", UUID)
