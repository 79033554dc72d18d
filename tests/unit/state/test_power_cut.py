"""What a change of the state came to is on the disk when it returns: names and content."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy_py.models.snapshot import Consistency, Way
from convoy_py.models.volume import Spec
from convoy_py.state.passed import PassedTime
from convoy_py.state.records import Record, SnapshotRecord
from convoy_py.state.snapshots import SnapshotStore
from convoy_py.state.store import Store
from convoy_py.state.trash import Trash, trash_key
from tests.unsynced import Unsynced

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
SPEC = Spec(backend="directory")


def _record(name: str, number: int = 0) -> Record:
    return Record(name=name, uuid=_uuid(number), created=NOON, spec=SPEC)


def _uuid(number: int) -> str:
    return f"01234567-89ab-4def-8123-{number:012}"


def _taken(group: str = "") -> SnapshotRecord:
    return SnapshotRecord(
        name="s",
        uuid=_uuid(1),
        created=NOON,
        spec=SPEC,
        way=Way.FILES,
        consistency=Consistency.OFFLINE,
        group=group,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Of a root with a volume `db` and one of which only the data is kept."""
    store = Store(tmp_path)
    store.open("a test")
    for name in ("db", "kept"):
        store.commit(store.stage(), _record(name))
    store.keep("kept")
    return store


@pytest.fixture
def trash(store: Store) -> Trash:
    return Trash(store, PassedTime(store.root, "boot", lambda: 5.0, NOON.timestamp))


def _snapshot(store: Store, group: str = "") -> Path:
    snapshots = SnapshotStore(store)
    staging = snapshots.stage("db", _uuid(1))
    if group:
        snapshots.seal(staging, _taken(group))
    snapshots.commit(staging, "db", _taken(group))
    return snapshots.home("db", "s")


def _delete_snapshot(store: Store, _: Trash) -> None:
    store.retire(SnapshotStore(store).unname(_snapshot(store), _uuid(1)))


def _keep_snapshot(store: Store, _: Trash) -> None:
    home = _snapshot(store)
    store.put_back(SnapshotStore(store).unname(home, _uuid(1)), home)


def _complete_a_group(store: Store, _: Trash) -> None:
    _snapshot(store, "g")
    store.commit(store.stage(), _record("web", 2))
    snapshots = SnapshotStore(store)
    snapshots.seal(snapshots.stage("web", _uuid(3)), _taken("g"))
    snapshots.complete_groups()
    assert snapshots.load("web")


def _swap(store: Store, trash: Trash) -> Path:
    """Exchange `db` for a new volume; where the old one lies then."""
    old = store.read("db")
    staging = store.stage(trash_key(old))
    store.seal(staging, _record("db", 9))
    trash.mark(old, NOON)
    store.swap(staging, "db")
    return staging


def _convert(store: Store, trash: Trash) -> None:
    old = store.read("db")
    trash.take_in(old, _swap(store, trash))


def _complete_a_conversion(store: Store, trash: Trash) -> None:
    _swap(store, trash)
    trash.complete()
    assert not store.half_made()


def _restore(store: Store, trash: Trash) -> None:
    old = store.read("db")
    trash.mark(old, NOON)  # else the date is not synced
    trash.restore(trash.put(old, NOON), "old")


CHANGES: list[Callable[[Store, Trash], object]] = [
    lambda store, _: store.commit(store.stage(), _record("new")),
    lambda store, _: store.update(_record("db")),
    lambda store, _: store.rename(_record("db"), "other"),
    lambda store, _: store.keep("db"),
    lambda store, _: store.adopt(_record("kept")),
    lambda store, _: store.retire(store.home("db")),
    _swap,
    lambda store, _: store.note_restoring("db", "a/.restore-0123"),
    lambda store, _: _snapshot(store),
    _delete_snapshot,
    _keep_snapshot,
    _complete_a_group,
    _convert,
    _complete_a_conversion,
    _restore,
]
NAMES = (
    *("commit", "update", "rename", "keep", "adopt", "retire", "swap", "note_restoring"),
    *("snapshot", "delete_snapshot", "keep_snapshot", "complete_a_group"),
    *("convert", "complete_a_conversion", "restore"),
)


def test_of_a_remove_a_power_cut_undoes_only_its_date(
    store: Store, trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which the mark bears; without it the volume lies in the trash for longer, not shorter."""
    with monkeypatch.context() as patch:
        unsynced = Unsynced(patch)
        home = trash.put(store.read("db"), NOON).home
        mark = home / "removed.json"
        assert unsynced.left() <= {str(home), str(mark)}
        assert {Path(path).name for path in unsynced.early} <= {mark.name}


def test_a_remove_undoes_the_date_of_an_earlier_one_for_good(
    store: Store, trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not bring it back: the trash would be purged too early."""
    old = store.read("db")
    trash.mark(old, NOON)
    with monkeypatch.context() as patch:
        unsynced = Unsynced(patch)
        trash.put(old, NOON)
        assert (unsynced.left(), unsynced.early) == (set(), [])


@pytest.mark.parametrize("change", CHANGES, ids=NAMES)
def test_a_power_cut_undoes_no_change_of_the_state(
    store: Store,
    trash: Trash,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Store, Trash], object],
) -> None:
    """No folder is left unsynced in which a name was changed, no file has its name too early."""
    with monkeypatch.context() as patch:
        unsynced = Unsynced(patch)
        change(store, trash)
        assert (unsynced.left(), unsynced.early) == (set(), [])
