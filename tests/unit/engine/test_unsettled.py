"""What fails after its point of no return has come to pass: memory, disk and answer agree on it."""

import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Lock

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps.snapshots import Copying
from convoy_py.errors import ConvoyError, NoSpace, NotFound, Unavailable, Unsettled
from convoy_py.linux import files
from convoy_py.models.volume import Options
from convoy_py.state.records import SnapshotRecord
from convoy_py.state.store import Store
from tests.fakes_engine import Engine

DOCKER = "100:1"
Verb = Callable[[Engine], Awaitable[object]]


def _fails(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
async def full(keeping: Engine) -> Engine:
    """With the volume `db`, its snapshot `db@a`, `gone` in the trash, and the data of `kept`."""
    for name in ("db", "gone", "kept"):
        await keeping.volumes.create(name, Options(size=4096))
        keeping.write(name, name)
    await keeping.snapshot("db", "a")
    await keeping.volumes.remove("gone")
    await keeping.volumes.remove("kept", keep_data=True)
    return keeping


def _state(engine: Engine) -> tuple[list[str], list[str], list[str], bool]:
    """The names of volumes, snapshots and what is in the trash; whether `db` is protected."""
    views = engine.volumes.views()
    return (
        [view.name for view in views],
        [f"{view.volume}@{view.name}" for view in engine.snapshots.views()],
        sorted(view.name for view in engine.trash.views()),
        any(view.protected for view in views),
    )


VERBS: dict[str, Verb] = {
    "rename": lambda engine: engine.volumes.rename("db", "new"),
    "remove": lambda engine: engine.volumes.remove("db"),
    "remove for good": lambda engine: engine.volumes.remove("db", to_trash=False),
    "forget": lambda engine: engine.volumes.remove("db", keep_data=True),
    "protect": lambda engine: engine.volumes.protect("db", on=True),
    "restore": lambda engine: engine.trash.restore("gone"),
    "restore as": lambda engine: engine.trash.restore("gone", "other"),
    "purge": lambda engine: engine.trash.purge("gone"),
    "snapshot": lambda engine: engine.snapshot("db", "b"),
    "delete": lambda engine: engine.snapshots.delete("db@a"),
    "resize": lambda engine: engine.space.resize("db", 8192),
}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("verb", VERBS)
async def test_memory_is_what_the_disk_has(
    full: Engine, monkeypatch: pytest.MonkeyPatch, verb: str, number: int
) -> None:
    """A name was changed and could not be synced: what is there is told and mounted, and stays."""
    (full.store.root / "ballast/0").mkdir(parents=True)  # for which nothing is done a second time

    def renamed_only(_: Path) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(files, "fsync_dir", renamed_only)
        patched.setattr(full.store, "update", _updated(full))
        with pytest.raises(Unsettled, match=r"a power cut may undo "):
            await VERBS[verb](full)
    assert full.daemon.health()
    told = _state(full)
    # What a growth adds counts from the next sample on.
    assert (await full.daemon.space()).promised == 4096 * len(told[0])
    for name in told[0]:
        await full.uses.mount(name, "container", DOCKER)
        await full.uses.unmount(name, "container")
        assert full.read(name) == ("db" if name == "new" else "gone" if name == "other" else name)
    with pytest.raises(Unavailable, match="cannot be changed"):
        await full.volumes.create("x", Options())
    assert _state(full.restarted()) == told


def _updated(engine: Engine) -> Callable[..., None]:
    """Store.update, of which the sync of the folder fails."""
    update = engine.store.update

    def updated(*records: object) -> None:
        update(*records)  # type: ignore[arg-type]  # a record, seen through a patch
        with engine.store.changing():
            raise files.Unsettled(errno.EIO, "Input/output error", str(engine.store.volumes))

    return updated


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("protect", "resize")])
async def test_what_did_not_come_to_pass_changes_nothing(
    full: Engine, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Where the rename itself fails; nor what was promised."""
    before, promised = _state(full), (await full.daemon.space()).promised
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", _no_room)
        with pytest.raises(ConvoyError, match="No space left"):
            await VERBS[verb](full)
    assert _state(full) == before
    assert (await full.daemon.space()).promised == promised
    await VERBS[verb](full)


async def test_a_mark_that_stays_does_not_fail_a_restore(
    full: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a volume was removed means nothing outside of the trash."""
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", _fails)
        await full.trash.restore("gone")
    assert full.read("gone") == "gone"
    with pytest.raises(NotFound):
        await full.trash.restore("gone")


async def test_a_rollback_that_is_not_on_the_disk_keeps_both(
    full: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there may come back by a power cut: the next start sweeps it, once all is synced."""
    full.write("db", "later")
    rollback = full.backend.rollback

    def unsettled(*args: object) -> None:
        rollback(*args)  # type: ignore[arg-type]  # as it was called
        raise Unsettled("volume db has gone back, but a power cut may undo it")

    monkeypatch.setattr(full.backend, "rollback", unsettled)
    with pytest.raises(Unsettled, match=r"what was there before is db@before-rollback-"):
        await full.snapshots.rollback("db", "a", Progress())
    (staging,) = full.store.half_made()
    assert (staging / "data/file").read_text() == "later"
    assert full.read("db") == "db"
    with monkeypatch.context() as patched:
        patched.setattr(files, "sync_filesystem", _fails)
        after = full.restarted()
        after.recovery.sweep()
    assert (staging / "data/file").read_text() == "later"
    again = after.restarted()
    again.recovery.sweep()
    assert again.left() == []
    assert again.read("db") == "db"


@pytest.mark.parametrize("lasting", [False, True])
async def test_a_group_is_all_or_nothing_or_completed(
    full: Engine, monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    """One cannot get its name: the other loses its own, or the next start names both.

    They get them at a time, so who is the first is not said.
    """
    await full.trash.purge()  # it would give way, and a second attempt succeed
    await full.volumes.create("web", Options())
    full.write("web", "web")
    rename = Path.rename
    named: list[Path] = []
    one_by_one = Lock()

    def renamed(path: Path, target: Path) -> Path:
        with one_by_one:
            if path.name.startswith(".new-") or (lasting and named):
                named.append(target)
                if len(named) > 1 and (lasting or len(named) == 2):
                    _no_room()
            return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", renamed)
        told = Unsettled if lasting else NoSpace
        with pytest.raises(told, match="No space left"):
            await full.snapshots.create(["db", "web"], "g", Progress())
    there = _state(full)[1]
    assert there in ([["db@a", "db@g"], ["db@a", "web@g"]] if lasting else [["db@a"]])
    after = full.restarted()
    assert _state(after)[1] == (["db@a", "db@g", "web@g"] if lasting else there)
    if lasting:
        assert (after.read("db@g"), after.read("web@g")) == ("db", "web")
    assert after.half_taken() == []


async def test_a_group_of_which_one_keeps_its_name_keeps_all(
    full: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third cannot get its name, another loses its own, one cannot: so all are to stay."""
    await full.trash.purge()  # it would give way, and a second attempt succeed
    for name in ("web", "app"):
        await full.volumes.create(name, Options())
        full.write(name, name)
    rename, tried, alone = Path.rename, list[str](), Lock()

    def renamed(path: Path, target: Path) -> Path:
        with alone:
            tried.append(target.name[:4])
            if fails := tried.count("g") == 3 or tried[-2:] == [".rm-", ".rm-"]:
                tried.clear()
        if fails:
            _no_room()
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", renamed)
        with pytest.raises(Unsettled, match="snapshot g is taken"):
            await full.snapshots.create(["db", "web", "app"], "g", Progress())
    left = {"db@g", "web@g", "app@g"}.intersection(_state(full)[1])
    assert len(left) == 2  # of them all are taken at once, so which two is not said
    after = full.restarted()
    assert [after.read(f"{name}@g") for name in ("db", "web", "app")] == ["db", "web", "app"]
    assert after.half_taken() == []


async def test_a_group_that_cannot_be_completed_at_a_start_waits(
    full: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was settled that all of it is there, so nothing of it is swept."""
    await full.volumes.create("web", Options())
    full.write("web", "web")
    commit = full.host.snapshot_store.commit

    def killed(home: Path, volume: str, record: SnapshotRecord) -> None:
        if volume == "web":
            raise KeyboardInterrupt
        commit(home, volume, record)

    monkeypatch.setattr(full.host.snapshot_store, "commit", killed)
    monkeypatch.setattr(Copying, "_withdrawn", lambda *_: True)
    with pytest.raises(KeyboardInterrupt):
        await full.snapshots.create(["db", "web"], "g", Progress())
    with monkeypatch.context() as patched:
        patched.setattr(Store, "move", _no_room)
        after = full.restarted()
        await after.snapshots.sweep(after.recovery.half_taken)
    again = after.restarted()
    assert (again.read("db@g"), again.read("web@g")) == ("db", "web")
    assert again.half_taken() == []
