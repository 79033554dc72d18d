"""The folder is the database: whole volumes or none, and one bad record is one bad volume."""

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy_py.errors import (
    AlreadyExists,
    ConvoyError,
    NoSpace,
    OperationFailed,
    RootLocked,
    Unavailable,
)
from convoy_py.models.volume import Spec
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import Record
from convoy_py.state.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "root")
    store.open("pid 1")
    return store


def _record(name: str) -> Record:
    return Record(
        name=name,
        uuid="0" * 32,
        created=datetime(2026, 1, 2, tzinfo=UTC),
        spec=Spec(backend="directory"),
    )


def _make(store: Store, name: str) -> Record:
    staging = store.stage()
    (staging / "data").mkdir()
    store.commit(staging, _record(name))
    return _record(name)


def test_a_committed_volume_is_loaded(store: Store) -> None:
    """Its folder bears its name, and nothing half made is left."""
    record = _make(store, "db")
    assert store.load() == {"db": record}
    assert (store.home("db") / "data").is_dir()
    assert store.half_made() == []


def test_volumes_with_the_same_options_share_them(store: Store) -> None:
    """Of thousands they are most of what each would take in memory."""
    for name in ("a", "b"):
        _make(store, name)
    loaded = [record for record in store.load().values() if isinstance(record, Record)]
    assert {record.name for record in loaded} == {"a", "b"}
    assert loaded[0].spec is loaded[1].spec


def test_what_is_being_built_is_no_volume(store: Store) -> None:
    """A crash before the commit leaves something to sweep, under a name no volume can have."""
    staging = store.stage()
    assert store.load() == {}
    assert store.half_made() == [staging]


def test_one_bad_record_is_one_bad_volume(store: Store) -> None:
    """The others load; the bad one tells its file and the reason, and the file is kept."""
    good = _make(store, "good")
    _make(store, "bad")
    path = store.home("bad") / "volume.json"
    path.write_bytes(b"{")
    _make(store, "gone")
    (store.home("gone") / "volume.json").unlink()
    loaded = store.load()
    assert loaded["good"] == good
    assert isinstance(loaded["bad"], Unreadable)
    assert str(path) in str(loaded["bad"])
    assert isinstance(loaded["gone"], Unreadable)
    assert "missing" in str(loaded["gone"])
    assert path.read_bytes() == b"{"


def test_what_is_no_folder_of_a_volume_is_none(store: Store, tmp_path: Path) -> None:
    """Not by another file's name, and not by way of a link."""
    record = _make(store, "db")
    (store.volumes / "note.txt").touch()
    (store.volumes / "link").symlink_to(tmp_path)
    (store.volumes / "lost+found").mkdir()
    assert store.load() == {"db": record}
    assert store.find("other") is None


def test_a_retired_volume_is_gone_at_once_and_its_data_is_left_to_delete(store: Store) -> None:
    """The rename is the moment of removal."""
    _make(store, "db")
    gone = store.retire(store.home("db"))
    assert store.load() == {}
    assert store.half_deleted() == [gone]
    assert (gone / "data").is_dir()


def test_kept_data_is_no_volume_and_blocks_its_name(store: Store) -> None:
    """`delete --reference` forgets the volume; a new one must not show the old one's data."""
    record = _make(store, "db")
    store.keep("db")
    assert store.load() == {}
    assert store.kept() == ["db"]
    with pytest.raises(AlreadyExists, match="create --adopt db"):
        _make(store, "db")
    store.adopt(record)
    assert store.load() == {"db": record}
    assert store.kept() == []
    (store.home("db") / "volume.json").unlink()
    assert isinstance(store.load()["db"], Unreadable)


def test_a_second_daemon_is_told_who_holds_the_root(store: Store) -> None:
    """The holder's own words are passed on."""
    with pytest.raises(RootLocked, match="pid 1"):
        Store(store.root).open("pid 2")
    (store.root / "lock").write_text("")  # as on a full disk
    with pytest.raises(RootLocked, match="unknown"):
        Store(store.root).open("pid 2")
    store.close()
    Store(store.root).open("pid 2")


def test_folders_are_closed_to_others(store: Store) -> None:
    """Other users of the host can neither list nor enter the root."""
    assert store.root.stat().st_mode & 0o077 == 0
    _make(store, "db")
    assert (store.home("db") / "volume.json").stat().st_mode & 0o077 == 0


def test_a_failed_disk_ends_all_changes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one failed fsync no later one is believed; reading goes on."""
    record = _make(store, "db")
    calls = []

    def fsync(fd: int) -> None:
        calls.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("convoy_py.linux.files.os.fsync", fsync)
    with pytest.raises(OperationFailed):
        _make(store, "other")
    count = len(calls)
    with pytest.raises(Unavailable, match="restart the daemon"):
        _make(store, "third")
    assert len(calls) == count
    assert store.load() == {"db": record}
    assert "Input/output error" in store.failure


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE])
def test_a_name_that_nobody_knows_ends_all_changes(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Whatever the error: after a rename that may be on the disk or not, a restart has to look."""
    home = store.home(_make(store, "db").name)

    def fsync(fd: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr("convoy_py.linux.files.os.fsync", fsync)
        with pytest.raises(ConvoyError):
            store.retire(home)
    assert os.strerror(code) in store.failure
    with pytest.raises(Unavailable, match="restart the daemon"):
        _make(store, "other")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.EEXIST, AlreadyExists),
        (errno.ENOTEMPTY, AlreadyExists),
        (errno.ENOSPC, NoSpace),
        (errno.EACCES, OperationFailed),
    ],
)
def test_only_a_name_that_is_taken_is_said_to_be(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int, told: type[Exception]
) -> None:
    """Filesystems differ in how they say it."""
    record = _make(store, "db")

    def rename(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(told):
            store.put_back(store.home("db"), store.home("other"))
    assert store.load() == {"db": record}


def test_a_full_disk_ends_no_changes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as no name was changed it is known what is there: the next change may succeed."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("convoy_py.linux.files.os.fsync", full)
        with pytest.raises(NoSpace):
            _make(store, "db")
    assert store.failure == ""
    _make(store, "other")
