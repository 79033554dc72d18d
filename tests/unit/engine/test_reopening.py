"""A root that was away is opened again when nothing stands against it."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from convoy_py.engine.upkeep import reopening as module
from convoy_py.engine.upkeep.reopening import Reopening
from convoy_py.errors import BrokenVolume, RootReplaced, Unavailable
from convoy_py.models.claims import Member
from convoy_py.models.volume import Options, State
from tests.fakes_engine import Engine

DOCKER = "100:1"


class Watched(Reopening):
    """The watch over an engine's root, whose disk can be taken away; counts its sweeps."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.operations, engine.host, engine.recovery, engine.trash, self._swept)
        self.engine = engine
        self.sweeps = 0
        self._root = engine.store.root
        self.elsewhere = self._root.with_name("elsewhere")

    async def _swept(self) -> None:
        self.sweeps += 1

    def take_away(self) -> None:
        self._root.rename(self.elsewhere)

    def bring_back(self) -> None:
        self.elsewhere.rename(self._root)


@pytest.fixture
async def watch(engine: Engine) -> Watched:
    """Over a root with the volumes `idle`, `used` and `other`; the latter two are mounted."""
    for name in ("idle", "used", "other"):
        await engine.volumes.create(name, Options(size=4096))
    for name in ("used", "other"):
        await engine.uses.mount(name, "container", DOCKER)
    return Watched(engine)


async def test_what_works_on_a_volume_keeps_it(engine: Engine, watch: Watched) -> None:
    """The records are read again only once long work has ended: it has the volume in its hands."""
    entry = engine.entries.get("idle")
    async with (
        engine.operations.locked_idle("idle") as locked,
        engine.uses.steady("a copy", locked, entry),
    ):
        watch.take_away()
        await watch.look()
        assert engine.store.presence.away
        watch.bring_back()
        await watch.look()
        assert engine.entries.get("idle") is entry
        assert entry.doing
    await watch.look()
    assert engine.entries.get("idle") is not entry
    assert not engine.store.presence.away


async def test_while_it_is_away_all_is_listed_and_what_is_mounted_is_used(
    engine: Engine, watch: Watched
) -> None:
    """What is broken besides says so still."""
    engine.entries.get("other").reason = "its image was cut"
    watch.take_away()
    await watch.look()
    told = {view.name: (view.state, view.reason) for view in engine.volumes.views()}
    away = engine.store.presence.away
    assert told == {
        "idle": (State.BROKEN, away),
        "used": (State.MOUNTED, away),
        "other": (State.BROKEN, "its image was cut"),
    }
    assert engine.volumes.get("idle").state is State.BROKEN
    with pytest.raises(Unavailable, match="is not the folder any more"):
        await engine.space.trim("used")
    assert engine.kernel.count("trim", "used") == 0


async def test_a_root_that_is_there_is_left_alone(engine: Engine, watch: Watched) -> None:
    entry = engine.entries.get("idle")
    await watch.look()
    assert engine.entries.get("idle") is entry


async def test_that_it_is_away_is_told_once_each_time(
    watch: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        watch.take_away()
        for _ in range(3):
            await watch.look()
        watch.bring_back()
        await watch.look()
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 2
    assert watch.sweeps == 2


async def test_what_is_in_use_goes_on_and_all_else_is_read_anew(
    engine: Engine, watch: Watched
) -> None:
    """Memory knows more of a mount than was recorded; of what is not mounted any more, nothing."""
    before = {name: engine.entries.get(name) for name in ("used", "other")}
    engine.clock.now += 100
    engine.references.save("used", engine.references.none())
    del engine.kernel.mounted[engine.mountpoint("other")]
    engine.store.commit(engine.store.stage(), engine.host.record("new", before["used"].spec))  # type: ignore[arg-type]
    watch.take_away()
    await watch.look()
    watch.bring_back()
    await watch.look()
    used = engine.entries.get("used")
    assert used.references == before["used"].references
    assert (used.mounted_at, used.held_at) == (1000.0, 1000.0)
    assert used.usage == before["used"].usage is not None
    assert engine.entries.get("other").references.holds == {}
    assert engine.volumes.get("new").state is State.READY
    assert (await engine.daemon.space()).promised == 4 * 4096


async def test_what_was_deleted_meanwhile_is_gone_unless_it_is_mounted(
    engine: Engine, watch: Watched
) -> None:
    """In the same root."""
    watch.take_away()
    await watch.look()
    for name in ("idle", "used"):
        (watch.elsewhere / "volumes" / name).rename(engine.folder / name)
    watch.bring_back()
    await watch.look()
    assert {view.name: view.state for view in engine.volumes.views()} == {
        "other": State.MOUNTED,
        "used": State.BROKEN,
    }
    assert "its folder is gone" in engine.volumes.get("used").reason
    assert engine.volumes.get("used").mountpoint
    assert (await engine.daemon.space()).promised == 4096


async def test_what_a_disk_that_came_late_hides_stays_listed(
    engine: Engine,
    watch: Watched,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was made in the bare folder beneath it; of one name, what is on the disk is served."""
    kept = engine.entries.get("other").volume_record()
    watch.take_away()
    await watch.look()
    late = Engine(engine.folder / "late", engine.kernel)
    late.store.commit(late.store.stage(), kept.model_copy(update={"uuid": "0" * 32}))
    late.killed()
    late.store.root.rename(engine.store.root)
    monkeypatch.setattr(engine.store, "may_take_over", lambda known: known.keys() == {*NAMES})
    await watch.look()
    assert not engine.store.presence.away
    idle, used, other = (engine.volumes.get(name) for name in ("idle", "used", "other"))
    assert "beneath what was mounted over" in idle.reason
    assert "beneath what was mounted over" in used.reason
    assert other.reason == ""
    assert (bool(idle.mountpoint), bool(used.mountpoint)) == (False, True)
    with pytest.raises(BrokenVolume):
        engine.entries.get("idle").usable()
    assert "listed as broken: idle, used" in caplog.text


NAMES = ("idle", "used", "other")


async def test_another_root_is_not_gone_on_with(engine: Engine, watch: Watched) -> None:
    """Where it lacks what is known, which is listed still."""
    watch.take_away()
    (engine.store.root / "volumes").mkdir(parents=True)
    await watch.look()
    assert engine.store.presence.away
    assert {view.name for view in engine.volumes.views()} == {*NAMES}


async def test_nothing_is_swept_while_something_is_being_made(
    engine: Engine, watch: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks like what a crash left; nor by the janitor, who comes back for that."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)
    going_on = asyncio.create_task(asyncio.Event().wait())
    engine.operations.track(going_on)
    being_made = engine.store.stage()
    watch.take_away()
    await watch.look()
    watch.bring_back()
    await watch.look()
    assert not engine.store.presence.away
    engine.recovery.sweep()
    assert watch.sweeps == 0
    assert being_made.exists()
    going_on.cancel()


# As a host of a shared root


@pytest.fixture
async def shared(engine: Engine, tmp_path: Path) -> AsyncIterator[Watched]:
    """Over a shared root with the volumes `idle` and `used`, which is mounted."""
    folder = tmp_path / "host"
    folder.mkdir()
    host = Engine(folder, engine.kernel, root=tmp_path / "shared", member=Member(1, 0)).start()
    for name in ("idle", "used"):
        await host.volumes.create(name, Options(size=4096))
    await host.uses.mount("used", "container", DOCKER)
    yield Watched(host)
    host.killed()


def _is_here(watch: Watched, monkeypatch: pytest.MonkeyPatch, *, yes: bool) -> list[str]:
    """Have the host say whether that root is its own; what it is told then."""
    done: list[str] = []
    membership, store = watch.engine.host.membership, watch.engine.store
    reopen = store.reopen
    monkeypatch.setattr(membership, "is_here", lambda: yes)
    monkeypatch.setattr(membership, "reopen", lambda: done.append("locked as the host"))

    def reopened() -> None:
        reopen()
        done.append("opened")

    monkeypatch.setattr(store, "reopen", reopened)
    return done


async def test_a_shared_root_is_the_same_where_this_host_is_alive(
    shared: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another mount of it, and whatever others have removed meanwhile."""
    shared.take_away()
    await shared.look()
    copied = shared.elsewhere.with_name("copied")
    shutil.copytree(shared.elsewhere, copied)
    shutil.rmtree(copied / "volumes" / "idle")
    copied.rename(shared.engine.store.root)
    done = _is_here(shared, monkeypatch, yes=True)
    await shared.look()
    assert done == ["locked as the host", "opened"]
    assert not shared.engine.store.presence.away
    assert [view.name for view in shared.engine.volumes.views()] == ["used"]
    assert shared.engine.store.presence.look()


async def test_what_does_not_know_this_host_is_not_gone_on_with(
    shared: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though all volumes are there; nor does the daemon end for what may be the bare folder."""
    done = _is_here(shared, monkeypatch, yes=False)
    shared.take_away()
    shutil.copytree(shared.elsewhere, shared.engine.store.root)
    await shared.look()
    assert shared.engine.store.presence.away
    assert done == []
    assert {view.name for view in shared.engine.volumes.views()} == {"idle", "used"}


async def test_a_daemon_over_whose_root_a_shared_one_is_mounted_begins_anew(
    shared: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another life, once nothing is mounted here any more: it may be another host there."""
    _is_here(shared, monkeypatch, yes=False)
    monkeypatch.setattr(shared.engine.store.presence, "is_covered", lambda: True)
    shared.take_away()
    shutil.copytree(shared.elsewhere, shared.engine.store.root)
    (shared.engine.store.root / "hosts").rename(shared.elsewhere / "hosts of before")
    (engine := shared.engine).kernel.mounted.clear()
    await shared.look()
    engine.entries.get("used").mounted = False
    await shared.look()  # an empty disk is not worth those volumes
    assert engine.store.is_hidden({}), "but it is worth none"
    (shared.elsewhere / "hosts of before").rename(engine.store.root / "hosts")
    engine.entries.get("used").mounted = True
    await shared.look()
    engine.entries.get("used").mounted = False
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    with pytest.raises(RootReplaced, match="another root was mounted over"):
        await shared.run()


async def test_a_daemon_whose_host_is_anothers_ends(
    shared: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not for what it saw of another root, nor for what was over at the next look."""
    membership = shared.engine.host.membership
    await shared.look()
    monkeypatch.setattr(membership, "is_foreign", True)
    _is_here(shared, monkeypatch, yes=True)
    await shared.look()
    _is_here(shared, monkeypatch, yes=False)
    shared.take_away()
    await shared.look()
    shared.bring_back()
    with pytest.raises(RootReplaced, match="another is the host"):
        await shared.look()
