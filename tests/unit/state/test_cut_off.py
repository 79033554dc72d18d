"""What a crash leaves between two steps of one change of the state is completed or undone."""

import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy_py.errors import NoSpace
from convoy_py.models.snapshot import Consistency, Way
from convoy_py.models.volume import Spec
from convoy_py.state.passed import PassedTime
from convoy_py.state.records import Record, SnapshotRecord
from convoy_py.state.snapshots import SnapshotStore
from convoy_py.state.store import Store
from convoy_py.state.trash import Trash, trash_key

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
SPEC = Spec(backend="directory")


def _uuid(number: int) -> str:
    return f"01234567-89ab-4def-8123-{number:012}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Of a root with the volumes `db` and `web`."""
    store = Store(tmp_path)
    store.open("a test")
    for number, name in enumerate(("db", "web")):
        store.commit(store.stage(), Record(name=name, uuid=_uuid(number), created=NOON, spec=SPEC))
    return store


def _passed_time(store: Store) -> PassedTime:
    return PassedTime(store.root, "boot", lambda: 5.0, NOON.timestamp)


@pytest.fixture
def snapshots(store: Store) -> SnapshotStore:
    return SnapshotStore(store)


def _record(number: int, group: str = "g") -> SnapshotRecord:
    return SnapshotRecord(
        name="s",
        uuid=_uuid(number),
        created=NOON,
        spec=SPEC,
        way=Way.FILES,
        consistency=Consistency.OFFLINE,
        group=group,
    )


def _sealed(snapshots: SnapshotStore, volume: str, record: SnapshotRecord) -> Path:
    staging = snapshots.stage(volume, record.uuid)
    snapshots.seal(staging, record)
    return staging


def test_a_group_of_which_one_has_its_name_gets_the_others(snapshots: SnapshotStore) -> None:
    """All of them were complete by then."""
    first, second = _sealed(snapshots, "db", _record(1)), _sealed(snapshots, "web", _record(2))
    snapshots.commit(first, "db", _record(1))
    snapshots.complete_groups()
    assert snapshots.load("web") == {"s": _record(2)}
    assert not second.exists()
    assert snapshots.half_made() == []


@pytest.mark.parametrize(("group", "named"), [("g", "another"), ("", "another"), ("", "")])
def test_a_group_without_a_name_gets_none(snapshots: SnapshotStore, group: str, named: str) -> None:
    """Nobody was told of it; nor does a single snapshot get one."""
    left = [_sealed(snapshots, "db", _record(1, group)), snapshots.stage("web", _uuid(2))]
    snapshots.commit(snapshots.stage("web", _uuid(3)), "web", _record(3, named))
    snapshots.complete_groups()
    assert [path for _, path in snapshots.half_made()] == left
    assert snapshots.load("db") == {}


def test_one_of_a_group_that_gets_no_name_is_told(
    store: Store, snapshots: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And waits for the next start."""
    first, second = _sealed(snapshots, "db", _record(1)), _sealed(snapshots, "web", _record(2))
    snapshots.commit(first, "db", _record(1))
    monkeypatch.setattr(store, "move", _full)
    with pytest.raises(NoSpace):
        snapshots.complete_groups()
    assert snapshots.unnamed(snapshots.half_made()) == {second: _record(2)}


def test_one_of_a_group_that_was_being_deleted_does_not_come_back(
    snapshots: SnapshotStore,
) -> None:
    """Although the others have their names."""
    for number, volume in enumerate(("db", "web")):
        record = _record(number)
        snapshots.commit(_sealed(snapshots, volume, record), volume, record)
    gone = snapshots.unname(snapshots.home("db", "s"), _uuid(0))
    snapshots.complete_groups()
    assert snapshots.half_made() == [("db", gone)]


def test_what_a_conversion_replaced_goes_to_the_trash(store: Store) -> None:
    """When it was cut off after the swap; before that, what it built is swept."""
    trash, old = Trash(store, _passed_time(store)), store.read("db")
    new = Record(name="db", uuid=_uuid(7), created=NOON, spec=SPEC)
    staging = store.stage(trash_key(old))
    trash.mark(old, NOON)
    trash.complete()
    assert (store.half_made(), trash.load()) == ([staging], [])
    store.seal(staging, new)
    store.swap(staging, "db")
    trash.complete()
    assert store.half_made() == []
    assert [(each.key, each.removed) for each in trash.load()] == [(trash_key(old), NOON)]
    assert store.read("db") == new


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ("the new one, without a record", False),
        ("the new one", False),
        ("the old one", True),
        ("the old one, without its mark", True),
        ("the old one, marked, without a record", True),
        ("a record that cannot be read", True),
        ("the old one, and no room", True),
    ],
)
def test_only_what_was_replaced_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch, left: str, kept: bool
) -> None:
    """Whatever a conversion left: the old volume is never deleted, the new one never kept."""
    trash, old = Trash(store, _passed_time(store)), store.read("db")
    staging = store.stage(trash_key(old))
    (staging / "data").mkdir()
    if left != "the new one, without a record":
        record = old if left.startswith("the old") else old.model_copy(update={"uuid": _uuid(7)})
        store.seal(staging, record)
    if "without its mark" not in left and left.startswith("the old"):
        (staging / "removed.json").write_text('{"removed": "2026-01-02T12:00:00Z"}')
    if left == "the old one, marked, without a record":
        (staging / "volume.json").unlink()
    if left == "a record that cannot be read":
        (staging / "volume.json").write_text("{")
    if left == "the old one, and no room":
        monkeypatch.setattr(store, "move", _full)
        with pytest.raises(NoSpace):
            trash.complete()
        assert trash.replaced() == [staging]
        return
    trash.complete()
    assert trash.replaced() == []
    assert store.half_made() == ([] if kept else [staging])
    assert [each.key for each in trash.load()] == ([trash_key(old)] if kept else [])


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_records_that_were_being_written_are_deleted(store: Store) -> None:
    """Those alone."""
    trash = Trash(store, _passed_time(store))
    home = trash.put(store.read("web"), NOON).home
    notes = store.root / "restores"
    notes.mkdir()
    (notes / "w.json").write_bytes(b"{}")
    kept = {*store.home("db").iterdir(), *home.iterdir(), *notes.iterdir()}
    for path in (
        store.home("db") / ".volume.json.0123",
        home / ".removed.json.0123",
        notes / ".v.json.0123",
    ):
        path.write_bytes(b"{")
    store.tidy()
    assert {*store.home("db").iterdir(), *home.iterdir(), *notes.iterdir()} == kept


def test_what_is_being_restored_is_known_until_it_is_done(store: Store) -> None:
    """By the path below the volume's data, whatever characters that has."""
    path = "etc/h\N{LATIN SMALL LETTER U WITH DIAERESIS}\udcff\n/.restore-0123"
    store.note_restoring("db", path)
    assert (store.half_restored(), store.restoring("db")) == (["db"], path)
    store.forget_restoring("db")
    assert (store.half_restored(), store.restoring("db")) == ([], None)
