"""An image gets a fresh inode: what is there when it is cut off, or fails, at any of its steps.

The images are files that nothing looks into, so no kernel is needed.
"""

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from convoy_py.backends.base import Backend
from convoy_py.backends.directory import Directory
from convoy_py.backends.loopback import Loopback
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.ledger import Ledger
from convoy_py.engine.steps import loading
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.renewing import Renewed, Renewing
from convoy_py.engine.steps.snapshots import Copying
from convoy_py.engine.steps.volumes import Steps
from convoy_py.engine.upkeep.recovery import Recovery
from convoy_py.errors import (
    Conflict,
    ConvoyError,
    Corrupt,
    InvalidName,
    Unsettled,
    Unsupported,
    VolumeInUse,
)
from convoy_py.linux import fresh
from convoy_py.metrics import Metrics
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.snapshot import Consistency
from convoy_py.models.volume import Spec
from convoy_py.state.passed import PassedTime
from convoy_py.state.records import Record, SnapshotRecord
from convoy_py.state.references import ReferenceStore
from convoy_py.state.store import Store
from tests.unsynced import Unsynced

MIB = 1 << 20
SIZE = 3 * MIB
NOW = 1_767_323_045.0  # 2026-01-02T03:04:05Z
LOST = "lost-b-20260102-030405"
CONTENT = os.urandom(MIB)
# What changes the disk: of these a crash may be the last, or each may fail.
CHANGES = (
    *("mkdir", "rename", "unlink", "rmdir", "write", "pwrite", "ftruncate", "posix_fallocate"),
    *("copy_file_range", "fsync", "fdatasync"),
)
PATIENT = fresh.Haste(lambda: 0.0, None, lambda: None)


@dataclass
class Root:
    """A root, and what a daemon does on it; `after` is its successor."""

    folder: Path

    def __post_init__(self) -> None:
        self.store = Store(self.folder)
        self.store.open("a test")
        backends: dict[str, Backend] = {
            "loopback": Loopback(self.folder, SIZE, Filesystem.EXT4),
            "directory": Directory(self.folder),
        }
        run = self.folder / "run"
        self.host = Host(
            self.store,
            ReferenceStore(run, "boot"),
            backends,
            Ledger(self.folder, overcommit=1000.0, reserve=0),
            run / "mounts",
            PassedTime(self.folder, "boot", lambda: 5.0, lambda: NOW),
        )
        self.renewing = Renewing(self.host)

    def after(self) -> "Root":
        self.store.close()
        return Root(self.folder)

    def recovered(self, *, is_quiet: bool = True) -> dict[str, Entry]:
        """What is known after a start, or after the root was opened anew while others work."""
        steps = Steps(self.host)
        copying = Copying(steps, self.folder / "run/frozen", 60.0, Metrics("0"))
        return Recovery(steps, copying, lambda: 5.0).load(is_quiet=is_quiet)

    def make(self, name: str = "db", **spec: object) -> None:
        """A volume whose image is no filesystem, and has holes."""
        about = {"backend": "loopback", "fs": "ext4", "size": SIZE, "sparse": True, **spec}
        record = self.host.record(name, Spec.model_validate(about))
        staging = self.store.stage()
        with (staging / "image").open("wb") as file:
            file.write(CONTENT)
            file.truncate(SIZE)
        (staging / "data").mkdir()
        self.store.commit(staging, record)

    @property
    def home(self) -> Path:
        return self.store.home("db")

    def entry(self) -> Entry:
        record = self.store.read("db")
        return loading.entry(self.host, "db", record)

    def renew(self, haste: fresh.Haste = PATIENT) -> Renewed | None:
        return self.renewing.renew(self.entry(), "b", haste, lambda _: None)

    def names(self) -> set[str]:
        """What lies in the home, but for the snapshots."""
        return {path.name for path in self.home.iterdir()} - {"snapshots", "data"}

    def snapshots(self) -> set[str]:
        return {path.name for path in self.home.glob("snapshots/*")}


@pytest.fixture
def root(tmp_path: Path) -> Root:
    root = Root(tmp_path / "root")
    root.make()
    return root


def test_it_has_a_copy_and_what_it_was_is_a_snapshot(root: Root) -> None:
    """That has the old inode, to which a late writer writes; its record says what it is."""
    inode = (root.home / "image").stat().st_ino
    before = root.store.read("db")
    renewed = root.renew()
    assert renewed is not None
    assert renewed.record == root.store.read("db") == before.model_copy(update={"data": "image.1"})
    assert root.names() == {"image.1", "volume.json"}
    assert _content(root.home / "image.1") == CONTENT + bytes(SIZE - MIB)
    assert root.snapshots() == {LOST}
    old = root.home / "snapshots" / LOST / "image"
    assert old.stat().st_ino == inode
    entry = root.recovered()["db"]
    (snapshot,) = entry.snapshots.values()
    assert snapshot.name == f"db@{LOST}"
    assert snapshot.record == renewed.lost
    assert isinstance(renewed.lost, SnapshotRecord)
    assert renewed.lost.consistency is Consistency.PER_FILE
    assert "ro" in (renewed.lost.spec.mount_options or ())
    for each in (entry, snapshot):
        backend, place = each.usable()
        backend.check(place)


def test_it_may_be_done_again(root: Root) -> None:
    """In the same second; each has a name of its own."""
    for _ in range(3):
        assert root.renew()
    assert root.names() == {"image.3", "volume.json"}
    assert root.snapshots() == {LOST, f"{LOST}-2", f"{LOST}-3"}
    for name in root.snapshots():
        assert _content(root.home / "snapshots" / name / "image").startswith(CONTENT)


def test_one_that_was_to_grow_still_is(tmp_path: Path) -> None:
    """Its snapshot is as long as the image is."""
    root = Root(tmp_path / "root")
    root.make(size=2 * SIZE, grows_from=SIZE)
    renewed = root.renew()
    assert renewed is not None
    assert renewed.record.spec.grows_from == SIZE
    assert (renewed.lost.spec.size, renewed.lost.spec.grows_from) == (SIZE, None)


@pytest.mark.parametrize(
    "spec", [{"fs": "btrfs"}, {"backend": "directory", "fs": None, "size": None}]
)
def test_what_can_have_none_is_refused(tmp_path: Path, spec: dict[str, Any]) -> None:
    """With nothing done."""
    root = Root(tmp_path / "root")
    root.make(**spec)
    before = root.names()
    with pytest.raises(Unsupported, match=r"btrfs image has its snapshots inside|keeps no image"):
        root.renew()
    assert (root.names(), root.snapshots()) == (before, set())


@pytest.mark.parametrize("wrong", ["missing", "cut"])
def test_an_image_that_is_not_what_it_was_is_told(root: Root, wrong: str) -> None:
    """Before it is copied; what is there stays as it is."""
    image = root.home / "image"
    image.unlink() if wrong == "missing" else os.truncate(image, 4096)
    before = root.names()
    with pytest.raises(Corrupt, match=r"is missing|it was cut"):
        root.renew()
    assert (root.names(), root.snapshots()) == (before, set())


def test_what_is_mounted_is_refused(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loopback, "is_mounted", lambda *_: True)
    with pytest.raises(VolumeInUse, match="its mount at"):
        root.renew()
    assert root.snapshots() == set()


@pytest.mark.parametrize("loser", ["../x", "a b", "x" * 128])
def test_a_host_by_which_no_snapshot_can_be_called_is_refused(root: Root, loser: str) -> None:
    with pytest.raises(InvalidName):
        root.renewing.renew(root.entry(), loser, PATIENT, lambda _: None)
    assert root.snapshots() == set()


@pytest.mark.parametrize("why", ["slow", "written", "cancelled", "full"])
def test_what_fails_leaves_all_as_it_was(
    root: Root, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """And can be done then."""

    def write() -> None:
        os.utime(root.home / "image", (5, 5))

    def cancel(_: int) -> None:
        raise InterruptedError("cancelled")

    before, renew = root.store.read("db"), root.renewing.renew
    if why == "slow":
        monkeypatch.setattr(fresh, "copied", lambda *_, **__: False)
        assert root.renew() is None
    elif why == "written":
        with pytest.raises(Conflict, match="somebody writes to its image"):
            root.renew(fresh.Haste(lambda: 0.0, None, write))
    elif why == "cancelled":
        with pytest.raises(InterruptedError):
            renew(root.entry(), "b", PATIENT, cancel)
    else:
        monkeypatch.setattr(root.host.ledger, "room", _full)
        with pytest.raises(OSError, match="full"):
            root.renew()
    assert root.names() == {"image", "volume.json"}
    assert root.snapshots() == set()
    assert root.store.read("db") == before
    monkeypatch.undo()
    assert root.renew()


def test_a_power_cut_undoes_nothing_of_it(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name is on the disk, and no file has its name before its content is."""
    with monkeypatch.context() as patch:
        unsynced = Unsynced(patch)
        assert root.renew()
        assert (unsynced.left(), unsynced.early) == (set(), [])


def test_a_power_cut_brings_back_no_copy_that_nobody_knows_of(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it is gone is on the disk before what tells of it goes."""
    _half(root, done=False)
    with monkeypatch.context() as patch:
        unsynced = Unsynced(patch)
        root.renewing.complete("db")
        assert unsynced.left() <= {str(root.home / "snapshots")}
        assert root.snapshots() == set()


def test_the_copy_has_its_name_on_the_disk_before_the_record_names_it(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On some filesystems a power cut may undo the one and not the other."""
    done: list[str] = []
    rename, fsync = os.rename, os.fsync

    def renamed(old: Any, new: Any, **more: Any) -> None:
        done.append(f"{Path(new).name}")
        rename(old, new, **more)

    def synced(fd: int) -> None:
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")
        fsync(fd)

    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "fsync", synced)
    assert root.renew()
    named, told = done.index("image.1"), done.index("volume.json")
    assert "sync db" in done[named:told]
    assert "sync snapshots" in done[:named]  # and so is what tells of both


def test_what_is_replaced_moves_once_the_record_is_on_the_disk(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash may have come between the two: then whoever goes on has to see to it."""
    cut = Cut("rename", 4, None)  # the note, the copy, the record: that one is last
    with pytest.raises(Killed):
        root.renew()
    cut.end()
    assert root.store.read("db").data == "image.1"
    synced: list[str] = []
    rename, fsync = os.rename, os.fsync
    order: list[bool] = []

    def sync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    def renamed(*names: Any, **more: Any) -> None:
        order.append(str(root.home) in synced)
        rename(*names, **more)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", renamed)
    root.renewing.complete("db")
    assert order == [True, True]


def test_cut_off_anywhere_it_is_before_or_after(tmp_path: Path) -> None:
    """The next start goes back or on: what the record names is whole, and so is what it was."""
    found = [_cut_off(tmp_path / f"{at}", at) for at in range(1, _changes(tmp_path))]
    assert found == sorted(found), "there is one point of no return"
    assert set(found) == {False, True}


def _cut_off(folder: Path, at: int) -> bool:
    """Whether it is done, if the `at`-th change is the first that does not come to pass."""
    root = Root(folder)
    root.make()
    cut = Cut("", at, None)
    with pytest.raises(Killed):
        root.renew()
    cut.end()
    return _is_done(root.after(), _inode(folder))


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("lasting", [True, False])
def test_whichever_change_fails_it_is_before_or_after_and_told(
    tmp_path: Path, number: int, *, lasting: bool
) -> None:
    """Unsettled is what is done; anything else is not, or is by the next start."""
    told = set()
    for at in range(1, _changes(tmp_path)):
        root = Root(tmp_path / f"{at}")
        root.make()
        cut = Cut("", at, number, lasting=lasting)
        error: Exception | None = None
        try:
            assert root.renew()
        except (OSError, ConvoyError) as problem:
            error = problem
        cut.end()
        is_done = _is_done(root.after(), _inode(root.folder))
        assert is_done is (error is None or isinstance(error, Unsettled)), (at, error)
        told.add(type(error))
    assert Unsettled in told
    assert len(told) > 2


def test_cut_off_while_it_is_put_right_it_is_put_right_by_the_next(tmp_path: Path) -> None:
    """Be it forward or back."""
    for first in range(1, _changes(tmp_path)):
        for second in range(1, 100):
            folder = tmp_path / f"{first}-{second}"
            root = Root(folder)
            root.make()
            inode = _inode(folder)
            cut = Cut("", first, None)
            with pytest.raises(Killed):
                root.renew()
            cut.end()
            after = root.after()
            cut = Cut("", second, None)
            with suppress(Killed):
                after.renewing.complete_all()
            was_cut = cut.met
            cut.end()
            _is_done(after.after(), inode)
            if not was_cut:
                break


def _inode(folder: Path) -> int:
    """Of the image that was first: it is in one of two places."""
    home = folder / "volumes/db"
    (found,) = {
        path.stat().st_ino
        for path in (
            home / "image",
            *home.glob("snapshots/*/image"),
            *home.glob("snapshots/.*/image"),
        )
        if path.exists()
    }
    return found


def _is_done(root: Root, inode: int) -> bool:
    """Start, and look: whether the volume has the copy. All is whole in any case."""
    entry = root.recovered()["db"]
    backend, place = entry.usable()
    backend.check(place)
    assert isinstance(entry.record, Record)
    is_done = entry.record.data is not None
    named = "image.1" if is_done else "image"
    assert root.names() == {named, "volume.json"}
    assert root.snapshots() == ({LOST} if is_done else set())
    assert _content(root.home / named) == CONTENT + bytes(SIZE - MIB)
    assert ((root.home / named).stat().st_ino != inode) is is_done
    if is_done:
        (snapshot,) = entry.snapshots.values()
        assert snapshot.reason == ""
        old = root.home / "snapshots" / LOST / "image"
        assert (old.stat().st_ino, _content(old)) == (inode, CONTENT + bytes(SIZE - MIB))
    assert root.renew(), "it can be done again"
    return is_done


# What recovery may not delete


@pytest.mark.parametrize("done", [True, False])
def test_one_that_goes_on_is_left_alone(root: Root, *, done: bool) -> None:
    """When the root is opened anew, it may be that nobody was cut off."""
    _half(root, done=done)
    before = root.snapshots()
    root.recovered(is_quiet=False)
    assert root.names() == {"image", "image.1", "volume.json"}
    assert root.snapshots() == before


def _half(root: Root, *, done: bool) -> None:
    """Cut it off just before, or just after, the record has the new name."""
    cut = Cut("rename", 4 if done else 3, None)
    with pytest.raises(Killed):
        root.renew()
    cut.end()
    assert (root.home / "image.1").exists()
    assert root.store.read("db").data == ("image.1" if done else None)


def test_nothing_goes_while_what_the_record_names_is_missing(root: Root) -> None:
    """The copy may be all that there is."""
    _half(root, done=False)
    (root.home / "image").rename(root.home / "away")
    after = root.after()
    with pytest.raises(Corrupt, match="is missing; what else is there stays"):
        after.renewing.complete("db")
    after.recovered()
    assert after.names() == {"away", "image.1", "volume.json"}
    (root.home / "away").rename(root.home / "image")
    after.recovered()
    assert after.names() == {"image", "volume.json"}


@pytest.mark.parametrize("done", [True, False])
def test_nothing_goes_while_the_record_cannot_be_read(root: Root, *, done: bool) -> None:
    """Which of the two is the volume's it alone tells."""
    _half(root, done=done)
    record = root.home / "volume.json"
    content = record.read_bytes()
    record.write_bytes(b"{}")
    after = root.after()
    after.recovered()
    assert after.names() == {"image", "image.1", "volume.json"}
    record.write_bytes(content)
    after.recovered()
    assert after.names() == {"image.1" if done else "image", "volume.json"}


def test_what_was_replaced_waits_for_who_can_tell_what_it_is(root: Root) -> None:
    """Such as a newer daemon, or a person."""
    _half(root, done=True)
    (note,) = root.home.glob("snapshots/.lost-*/snapshot.json")
    content = note.read_bytes()
    after = root.after()
    for wrong in (b"{}", None):
        note.write_bytes(wrong) if wrong else note.unlink()
        with pytest.raises(Corrupt, match=r"what was its data waits|nothing tells what"):
            after.renewing.complete("db")
        with pytest.raises(Corrupt):
            after.renew()
        assert after.names() == {"image", "image.1", "volume.json"}
    note.write_bytes(content)
    after.recovered()
    assert after.snapshots() == {LOST}


def test_what_nobody_noted_stays(root: Root) -> None:
    """Whatever number it has: it may be what a person saved there."""
    (root.home / "image.9").write_text("saved")
    (root.home / ".new-image.7").write_text("saved")
    cut = Cut("rename", 3, None)
    with pytest.raises(Killed):
        root.renew()
    cut.end()
    after = root.after()
    after.recovered()
    assert after.names() == {"image", "image.9", ".new-image.7", "volume.json"}
    assert after.renew()
    assert after.names() == {"image.10", "image.9", ".new-image.7", "volume.json"}


def test_a_record_of_before_that_was_put_back_is_told(root: Root) -> None:
    """What it names lies in the snapshot by then, and stays there."""
    record = (root.home / "volume.json").read_bytes()
    cut = Cut("rename", 5, None)
    with pytest.raises(Killed):
        root.renew()
    cut.end()
    (root.home / "volume.json").write_bytes(record)
    (root.home / "image").write_bytes(b"x" * SIZE)
    after = root.after()
    with pytest.raises(Corrupt, match="its record does not know of"):
        after.renewing.complete("db")
    (kept,) = root.home.glob("snapshots/.lost-*/image")
    assert _content(kept).startswith(CONTENT)
    assert after.names() == {"image", "image.1", "volume.json"}


def test_a_record_that_names_neither_is_told(root: Root) -> None:
    """Someone has been at it: nothing goes, and nothing is moved."""
    _half(root, done=True)
    record = root.store.read("db")
    (root.home / "image.9").write_bytes(b"x" * SIZE)
    root.store.update(record.model_copy(update={"data": "image.9"}))
    with pytest.raises(Corrupt, match="names neither"):
        root.renewing.complete("db")
    root.after().recovered()
    assert root.names() == {"image", "image.1", "image.9", "volume.json"}


def test_a_record_that_is_another_by_now_is_not_overwritten(root: Root) -> None:
    """What is in memory may be of before."""
    entry = root.entry()
    assert root.renew()
    with pytest.raises(Conflict, match="was replaced meanwhile"):
        root.renewing.renew(entry, "b", PATIENT, lambda _: None)
    assert root.names() == {"image.1", "volume.json"}
    root.store.update(root.store.read("db").model_copy(update={"protected": True}))
    assert root.renew()
    assert root.store.read("db").protected


def test_another_volume_is_put_right_all_the_same(root: Root) -> None:
    """What stands in the way of one is told in the end."""
    _half(root, done=True)
    root.make("aa")
    cut = Cut("rename", 3, None)
    entry = loading.entry(root.host, "aa", root.store.read("aa"))
    with pytest.raises(Killed):
        root.renewing.renew(entry, "b", PATIENT, lambda _: None)
    cut.end()
    (root.store.home("aa") / "image").unlink()
    with pytest.raises(Corrupt, match="volume aa: its data"):
        root.renewing.complete_all()
    assert root.snapshots() == {LOST}


class Killed(BaseException):
    """The daemon came no further."""


class Cut:
    """Has the `at`-th change of a kind, or of all, not come to pass: a kill, or an error.

    Once killed it changes nothing any more; after an error only if that is `lasting`.
    """

    def __init__(
        self,
        kind: str,
        at: int,
        number: int | None,
        *,
        lasting: bool = False,
    ) -> None:
        self.seen = 0
        self.met = False
        self._kind = kind
        self._at = at
        self._number = number
        self._lasting = lasting or number is None
        self._context = pytest.MonkeyPatch()
        for name in CHANGES:
            self._wrap(os, name)
        self._wrap(fcntl, "ioctl")
        self._wrap(os, "open")

    def end(self) -> None:
        self._context.undo()

    def _wrap(self, module: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(module, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            if name != "open" or arguments[1] & os.O_CREAT:
                self._before(name)
            return function(*arguments, **named)

        self._context.setattr(module, name, wrapped)

    def _before(self, name: str) -> None:
        if self.met and self._lasting:
            self._raise()
        if self._kind in ("", name):
            self.seen += 1
            if self.seen == self._at:
                self.met = True
                self._raise()

    def _raise(self) -> None:
        if self._number is None:
            raise Killed
        raise OSError(self._number, os.strerror(self._number))


def _changes(folder: Path) -> int:
    """How many changes it makes, and one more."""
    root = Root(folder / "whole")
    root.make()
    cut = Cut("", 10_000, None)
    assert root.renew()
    cut.end()
    assert cut.seen > 20
    return cut.seen + 1


def _content(path: Path) -> bytes:
    return path.read_bytes()


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "full")
