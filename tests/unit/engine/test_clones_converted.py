"""A conversion: another kind of volume with the same data, before or after, never between."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from convoy_py.docker_volumes import LocalVolume
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps import loading
from convoy_py.errors import (
    Conflict,
    NoSpace,
    OperationFailed,
    Unsettled,
    Unsupported,
    VolumeInUse,
)
from convoy_py.linux import files, trees
from convoy_py.linux.reflink import Step
from convoy_py.linux.trees import Tree
from convoy_py.models.volume import Options, Spec
from convoy_py.state.records import timestamp
from convoy_py.state.store import Store
from convoy_py.state.trash import Trash
from tests.fakes_engine import NOW, Engine
from tests.fakes_kernel import OtherBackend

DOCKER = "100:1"


def _spec(engine: Engine, name: str) -> Spec:
    spec = engine.volumes.get(name).spec
    assert spec is not None
    return spec


@pytest.fixture
async def plain(keeping: Engine) -> Engine:
    """With a volume `db` without snapshots, and a trash that keeps."""
    keeping.host.backends = {"fake": keeping.backend, "other": OtherBackend(keeping.kernel)}
    await keeping.volumes.create("db", Options(size=4096, uid=7))
    await keeping.volumes.protect("db", on=True)
    keeping.write("db", "data")
    return keeping


async def test_a_conversion_swaps_the_volume_and_keeps_the_old(plain: Engine) -> None:
    """Same name, same data, same age and protection; the old one lies in the trash."""
    before = plain.volumes.get("db")
    view = await plain.copies.convert("db", Options(backend="other", size=8192), Progress())
    assert view.spec is not None
    assert (view.backend, view.spec.size) == ("other", 8192)
    assert (view.created, view.protected) == (before.created, True)
    assert plain.read("db") == "data"
    (removed,) = plain.trash.views()
    assert (removed.name, removed.backend) == ("db", "fake")
    assert removed.removed == timestamp(NOW)
    assert (await plain.daemon.space()).promised == 8192
    await plain.trash.restore("db", "old")
    assert plain.read("old") == "data"
    assert plain.left() == []
    assert plain.restarted().volumes.get("db").backend == "other"


async def test_snapshots_stand_in_the_way_of_a_conversion(plain: Engine) -> None:
    """They could not come along, and are not lost silently; the way around is told."""
    await plain.snapshots.create(["db"], "a", Progress())
    with pytest.raises(Exception, match=r"db@a\): delete them, or `convoy clone db NEW`"):
        await plain.copies.convert("db", Options(backend="other"), Progress())


@pytest.mark.parametrize("where", ["exchange", "create", "writing"])
async def test_a_conversion_that_fails_changes_nothing(
    plain: Engine, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Up to the exchange of the two, and that included."""
    if where == "exchange":
        monkeypatch.setattr(files, "exchange", _full)
    else:
        plain.kernel.failures[where, "db"] = OSError(errno.EDQUOT, "Disk quota exceeded")
    with pytest.raises(NoSpace):
        await plain.copies.convert("db", Options(backend="other"), Progress())
    assert plain.volumes.get("db").backend == "fake"
    assert plain.read("db") == "data"
    assert plain.trash.views() == []
    assert plain.left() == []
    assert (await plain.daemon.space()).promised == 4096
    after = plain.restarted()
    after.host.backends = plain.host.backends
    assert after.volumes.get("db").backend == "fake"
    assert after.read("db") == "data"


def _full(*_: object) -> None:
    raise OSError(errno.EDQUOT, "Disk quota exceeded")


def _no_room(*_: object) -> None:
    raise NoSpace("no room")


async def test_what_may_not_be_in_the_trash_after_a_power_cut_is_told(
    plain: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the new one has the name, and the old one lies in the trash for all to see."""
    fsync_dir = files.fsync_dir

    def fails(folder: Path) -> None:
        if folder == plain.store.trash:
            raise OSError(errno.EIO, "Input/output error")
        fsync_dir(folder)

    with monkeypatch.context() as patched:
        patched.setattr(files, "fsync_dir", fails)
        with pytest.raises(Unsettled, match=r"db is converted; what it was lies in the trash \("):
            await plain.copies.convert("db", Options(backend="other"), Progress())
    assert (plain.volumes.get("db").backend, plain.read("db")) == ("other", "data")
    assert [(removed.name, removed.backend) for removed in plain.trash.views()] == [("db", "fake")]
    assert plain.left() == []


@pytest.mark.parametrize("lasting", [False, True])
async def test_what_was_replaced_is_never_abandoned(
    plain: Engine, monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    """Where it cannot go to the trash it stays, is told, and the next start takes it in."""
    exchange = files.exchange
    with monkeypatch.context() as patched:

        def exchanged(one: Path, other: Path) -> None:
            exchange(one, other)
            patched.setattr(Trash, "take_in", _no_room)
            if lasting:
                patched.setattr(files, "exchange", _full)
                patched.setattr(files, "durable_replace", _full)

        patched.setattr(files, "exchange", exchanged)
        with pytest.raises(Unsettled, match=r"db is converted; what it was lies in .*next start"):
            await plain.copies.convert("db", Options(backend="other", size=8192), Progress())
    assert (plain.volumes.get("db").backend, plain.read("db")) == ("other", "data")
    assert (await plain.daemon.space()).promised == 8192
    assert plain.volumes.get("db").doing == ""
    assert plain.trash.views() == []
    after = plain.restarted()
    after.host.backends = plain.host.backends
    after.recovery.sweep()
    (removed,) = after.trash.views()
    assert (removed.name, removed.backend) == ("db", "fake")
    await after.trash.restore("db", "old")
    assert (after.read("old"), after.left()) == ("data", [])


async def test_what_cannot_be_taken_in_at_a_start_is_not_swept(
    plain: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the only copy: it waits, with its mountpoint, for a start that can."""
    with monkeypatch.context() as patched:
        patched.setattr(Trash, "take_in", _no_room)
        with pytest.raises(Unsettled):
            await plain.copies.convert("db", Options(backend="other"), Progress())
    (staging,) = plain.store.half_made()
    (plain.host.mounts_dir / staging.name).mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "move", _full)
        after = plain.restarted()
        after.recovery.sweep()
        assert after.store.half_made() == [staging]
        assert (staging / "data/file").read_text() == "data"
    again = after.restarted()
    assert [(removed.name, removed.backend) for removed in again.trash.views()] == [("db", "fake")]


async def test_what_changes_a_record_meanwhile_is_not_lost(plain: Engine) -> None:
    """Here `protect`: it need not wait for the conversion, and holds for what comes of it."""
    gate = plain.kernel.gate("create", "db")
    conversion = asyncio.create_task(
        plain.copies.convert("db", Options(backend="other"), Progress())
    )
    await asyncio.to_thread(gate.wait_for_call)
    assert not (await plain.volumes.protect("db", on=False)).protected
    gate.open()
    assert not (await conversion).protected
    (removed,) = plain.host.trash.load()
    assert removed.record is not None
    assert not removed.record.protected
    after = plain.restarted()
    assert (after.volumes.get("db").backend, after.volumes.get("db").protected) == ("other", False)


@pytest.mark.parametrize("as_another", [True, False])
async def test_a_volume_that_was_read_again_meanwhile_is_not_replaced(
    plain: Engine, as_another: bool
) -> None:
    """As when the root's disk was away: it may have been mounted since, or be of another size."""
    gate = plain.kernel.gate("create", "db")
    conversion = asyncio.create_task(
        plain.copies.convert("db", Options(backend="other"), Progress())
    )
    await asyncio.to_thread(gate.wait_for_call)
    record = plain.store.read("db")
    if as_another:
        plain.entries.put(loading.entry(plain.host, "db", record))
    else:
        spec = record.spec.model_copy(update={"size": 8192})
        record = record.model_copy(update={"spec": spec})
        loading.rerecord(plain.host, plain.entries.get("db"), record)
    gate.open()
    with pytest.raises(Conflict, match="db was changed meanwhile; repeat the command"):
        await conversion
    assert (plain.volumes.get("db").backend, plain.read("db")) == ("fake", "data")
    assert (plain.left(), plain.trash.views()) == ([], [])


async def test_a_new_size_waits_for_a_conversion(plain: Engine) -> None:
    """And is that of what came of it."""
    gate = plain.kernel.gate("create", "db")
    conversion = asyncio.create_task(
        plain.copies.convert("db", Options(backend="other", size=4096), Progress())
    )
    await asyncio.to_thread(gate.wait_for_call)
    resizing = asyncio.create_task(plain.space.resize("db", 8192))
    gate.open()
    await conversion
    await resizing
    assert (_spec(plain, "db").size, plain.volumes.get("db").backend) == (8192, "other")
    assert plain.store.read("db").spec == _spec(plain, "db")


async def test_a_conversion_that_came_out_different_changes_nothing(
    plain: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk or memory that turned a bit on the way costs time, not data; so with an adoption."""
    copy = trees.copy

    def turned(source: Path, target: Path, step: Step) -> Tree:
        copied = copy(source, target, step)
        (target / "file").write_text("date")
        times = (source / "file").stat()
        os.utime(target / "file", ns=(times.st_atime_ns, times.st_mtime_ns))
        return copied

    monkeypatch.setattr(trees, "copy", turned)
    with pytest.raises(OperationFailed, match="the copy differs in content"):
        await plain.copies.convert("db", Options(backend="other"), Progress())
    assert plain.volumes.get("db").backend == "fake"
    assert plain.read("db") == "data"
    plain.containers.local["old"] = LocalVolume("old", "local", plain._data("db"))
    with pytest.raises(OperationFailed, match="the copy differs in content"):
        await plain.adoptions.adopt("old", "", "new", Options(), Progress())
    assert set(plain.entries.volumes) == {"db"}
    assert (plain.trash.views(), plain.left()) == ([], [])


async def test_nobody_uses_a_volume_that_is_converted(plain: Engine) -> None:
    """A container waits; what would take it away is refused."""
    gate = plain.kernel.gate("create", "db")
    conversion = asyncio.create_task(
        plain.copies.convert("db", Options(backend="other"), Progress())
    )
    await asyncio.to_thread(gate.wait_for_call)
    mounting = asyncio.create_task(plain.uses.mount("db", "container", DOCKER))
    with pytest.raises(VolumeInUse, match="db is in use by its conversion"):
        await plain.volumes.rename("db", "x")
    assert not mounting.done()
    gate.open()
    await conversion
    await mounting
    with pytest.raises(VolumeInUse, match="a mount made or taken over 0 s ago"):
        await plain.copies.convert("db", Options(backend="fake"), Progress())


async def test_a_volume_of_private_clones_stays_one(plain: Engine) -> None:
    """When it is converted; a clone of it is an ordinary volume."""
    await plain.volumes.create("golden", Options(source="db", per_mount=True))
    await plain.copies.convert("golden", Options(backend="other"), Progress())
    await plain.volumes.create("copy", Options(source="golden"))
    assert _spec(plain, "golden").per_mount is True
    assert _spec(plain, "copy").per_mount is None


async def test_without_the_power_there_are_no_copies(
    plain: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said by the backend's name."""
    monkeypatch.setattr("convoy_py.engine.steps.parts.Snapshottable", type("Nobody", (), {}))
    with pytest.raises(Unsupported, match="volume db: backend fake takes no snapshots"):
        await plain.snapshots.create(["db"], "a", Progress())
