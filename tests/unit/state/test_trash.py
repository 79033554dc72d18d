"""What was removed lies in the trash whole, and comes back as it was."""

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from convoy_py.errors import AlreadyExists, NoSpace
from convoy_py.models.volume import Spec
from convoy_py.state.passed import PassedTime
from convoy_py.state.records import Moment, Record, Removal
from convoy_py.state.store import Store
from convoy_py.state.trash import Trash

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.open("a test")
    return store


@pytest.fixture
def trash(store: Store) -> Trash:
    return Trash(store, passed_time(store))


def passed_time(store: Store) -> PassedTime:
    """Seconds of a boot that has just begun, at noon."""
    return PassedTime(store.root, "boot", lambda: 5.0, NOON.timestamp)


def _volume(store: Store, name: str, number: int = 0) -> Record:
    """A volume on the disk, with a file in it and a snapshot."""
    uuid = f"01234567-89ab-4def-8123-{number:012}"
    record = Record(name=name, uuid=uuid, created=NOON, spec=Spec(backend="directory"))
    staging = store.stage()
    (staging / "data").write_text(name)
    (staging / "snapshots" / "a").mkdir(parents=True)
    (staging / "snapshots" / ".new-x").mkdir()
    store.commit(staging, record)
    return record


def test_it_comes_back_as_it_was(store: Store, trash: Trash) -> None:
    """Under its name, with all that was in its folder."""
    record = _volume(store, "db")
    removed = trash.put(record, NOON)
    assert store.load() == {}
    assert (removed.name, removed.removed, removed.record) == ("db", NOON, record)
    assert removed.snapshots == ("a",)
    assert removed.key == f"db.{record.uuid}"
    assert trash.load() == [removed]
    assert trash.restore(removed, "db") == record
    assert (store.load(), trash.load()) == ({"db": record}, [])
    assert (store.home("db") / "data").read_text() == "db"
    assert not (store.home("db") / "removed.json").exists()


def test_a_disk_without_room_for_the_mark_dates_the_folder(
    store: Store, trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not by a mark that an earlier stay in the trash left."""
    record = _volume(store, "db")
    trash.mark(record, NOON - timedelta(days=1))

    def full(*_: object, **__: object) -> None:
        raise NoSpace("full")

    with monkeypatch.context() as patched:
        patched.setattr(trash, "mark", full)
        removed = trash.put(record, NOON)
    assert (removed.removed, removed.moment) == (NOON, trash.passed.now())
    (found,) = trash.load()
    assert (found.removed, found.record) == (NOON, record)


def test_it_ages_while_it_lies_there(store: Store, trash: Trash) -> None:
    """However often it is looked at."""
    removed = trash.put(_volume(store, "db"), NOON)
    later = Trash(store, PassedTime(store.root, "boot", lambda: 65.0, NOON.timestamp))
    assert later.load() == [removed]
    assert later.find(removed.key) == removed
    assert later.find("another") is None
    assert removed.moment is not None
    assert later.passed.since(removed.moment) == 60


def test_a_date_that_cannot_be_read_back_is_known_all_the_same(
    store: Store, trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = _volume(store, "db")

    def failing(home: Path) -> Removal:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(home))

    with monkeypatch.context() as patch:
        patch.setattr("convoy_py.state.trash._removal", failing)
        removed = trash.put(record, NOON)
    assert (removed.removed, removed.moment) == (NOON, trash.passed.now())


@pytest.mark.parametrize("left", [b"", bytes(100)])
def test_what_a_power_cut_left_no_date_of_ages_from_now_on(
    store: Store, trash: Trash, left: bytes
) -> None:
    """The mark is not synced; what is removed is there all the same, and can come back."""
    record = _volume(store, "db")
    home = trash.put(record, NOON).home
    (home / "removed.json").write_bytes(left)
    os.utime(home, (NOON.timestamp() + 60,) * 2)
    (found,) = Trash(store, passed_time(store)).load()
    assert (found.removed, found.problem) == (NOON + timedelta(seconds=60), "")
    assert found.moment == trash.passed.now()
    assert trash.restore(found, "db") == record


def test_what_another_root_removed_ages_from_now_on(store: Store, trash: Trash) -> None:
    """Its clock says nothing here; and once it is known, it goes on."""
    home = trash.put(_volume(store, "db"), NOON).home
    of_another = Removal(removed=NOON, moment=Moment(clock="another's", passed=1.0))
    (home / "removed.json").write_text(of_another.model_dump_json())
    (found,) = trash.load()
    assert (found.removed, found.moment) == (NOON, trash.passed.now())
    assert found.moment == Removal.model_validate_json((home / "removed.json").read_text()).moment


def test_it_comes_back_under_another_name(store: Store, trash: Trash) -> None:
    """Which its record then has."""
    record = trash.restore(trash.put(_volume(store, "db"), NOON), "old")
    assert record.name == "old"
    assert store.load() == {"old": record}
    assert trash.put(record, NOON).name == "old"


def test_a_restore_that_was_cut_off_is_before_or_after(
    store: Store, trash: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record bears both names before the folder is moved."""
    removed = trash.put(_volume(store, "db"), NOON)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, "move", killed)
        with pytest.raises(KeyboardInterrupt):
            trash.restore(removed, "old")
    (found,) = trash.load()
    assert found == removed
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            trash.restore(found, "old")
    (record,) = store.load().values()
    assert isinstance(record, Record)
    assert record.name == "old"
    # What was left of the first time in the trash does not make it older than it is.
    assert trash.put(record, NOON + timedelta(hours=1)).removed == NOON + timedelta(hours=1)


def test_a_name_that_is_taken_is_left_alone(store: Store, trash: Trash) -> None:
    """Be it a volume's or that of data that was kept; the trash has it still."""
    removed = trash.put(_volume(store, "db", 1), NOON)
    _volume(store, "db", 2)
    with pytest.raises(AlreadyExists, match="there is a folder"):
        trash.restore(removed, "db")
    assert trash.load() == [removed]
    (record,) = store.load().values()
    assert isinstance(record, Record)
    assert record.uuid.endswith("2")


def test_the_oldest_come_first(store: Store, trash: Trash) -> None:
    """Whatever they are called; several may have one name, with dots or like what is deleted."""
    for number, name in enumerate(("b.x", "a", "rm-0123", "a")):
        trash.put(_volume(store, name, number), NOON - timedelta(hours=number))
    assert [removed.name for removed in trash.load()] == ["a", "rm-0123", "a", "b.x"]
    assert store.half_deleted() == []


def test_what_cannot_be_read_stays_and_comes_last(store: Store, trash: Trash) -> None:
    """Listed by the name of its folder; it can be deleted."""
    home = trash.put(_volume(store, "bad"), NOON).home
    trash.put(_volume(store, "good", 1), NOON)
    (home / "removed.json").write_text("[]")
    good, bad = trash.load()
    assert good.name == "good"
    assert (bad.name, bad.removed, bad.record) == ("bad", None, None)
    assert trash.retire(bad).parent == store.trash
    assert trash.load() == [good]


def test_a_readable_date_counts_also_without_a_record(store: Store, trash: Trash) -> None:
    """So that its time can be up."""
    home = trash.put(_volume(store, "bad"), NOON).home
    (home / "volume.json").unlink()
    (bad,) = trash.load()
    assert (bad.removed, bad.record) == (NOON, None)


def test_what_is_being_deleted_is_not_in_the_trash(store: Store, trash: Trash) -> None:
    """Nor are files, and folders that no volume can have had."""
    trash.retire(trash.put(_volume(store, "db"), NOON))
    (store.trash / "note.txt").touch()
    (store.trash / ".x.y").mkdir()
    assert trash.load() == []
    assert len(store.half_deleted()) == 1
