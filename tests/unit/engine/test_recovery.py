"""What a daemon finds at its start, it takes over; what it cannot read, it reports."""

import asyncio
import errno
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from convoy_py.backends import mountpoints
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.verbs.uses import FRESH_SECONDS
from convoy_py.errors import BrokenVolume, VolumeInUse
from convoy_py.linux import files
from convoy_py.models.volume import Options, State
from tests.fakes_engine import GRACE, Engine, FakeKernel, holder

DOCKER = "100:1"


async def test_volumes_are_there_again(engine: Engine) -> None:
    """With their options and the time they were made."""
    await engine.volumes.create("a", Options(size=4096))
    await engine.volumes.create("b", Options(uid=7))
    # What they take is measured again.
    before = [view.model_copy(update={"usage": None}) for view in engine.volumes.views()]
    after = engine.restarted()
    assert after.volumes.views() == before
    assert (await after.daemon.space()).promised == 4096


async def test_a_mount_in_use_is_adopted(engine: Engine) -> None:
    """Containers do not notice; the counts go on where they were."""
    await engine.volumes.create("v", Options())
    for _ in range(2):
        await engine.uses.mount("v", "container", DOCKER)
    after = engine.restarted()
    view = after.volumes.get("v")
    assert (view.state, view.references) == (State.MOUNTED, 2)
    assert after.kernel.count("unmount", "v") == 0
    for _ in range(2):
        await after.uses.unmount("v", "container")
    assert not after.is_mounted("v")


_TAKING_AWAY: dict[str, Callable[[Engine, str], Awaitable[object]]] = {
    "remove": lambda engine, name: engine.volumes.remove(name),
    "rename": lambda engine, name: engine.volumes.rename(name, "new"),
    "convert": lambda engine, name: engine.copies.convert(name, Options(), Progress()),
    "rollback": lambda engine, name: engine.snapshots.rollback(name, "a", Progress()),
    "delete": lambda engine, name: engine.snapshots.delete(name),
}


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        *((verb, name) for verb in ("remove", "rename", "convert") for name in ("v", "private")),
        ("rollback", "v"),
        ("delete", "v@a"),
    ],
)
async def test_a_mount_that_was_taken_over_is_fresh(engine: Engine, verb: str, name: str) -> None:
    """The daemon died between a Mount and the start of its container."""
    await engine.volumes.create("v", Options())
    await engine.volumes.create("private", Options(source="v", per_mount=True))
    if verb in ("rollback", "delete"):
        await engine.snapshot("v", "a")
    await engine.uses.mount(name, "container", DOCKER)
    after = engine.restarted()
    after.clock.now += FRESH_SECONDS - 1
    with pytest.raises(VolumeInUse, match="by a mount made or taken over 9 s ago"):
        await _TAKING_AWAY[verb](after, name)
    after.clock.now += 1
    await _TAKING_AWAY[verb](after, name)


async def test_after_a_reboot_nothing_is_held(engine: Engine) -> None:
    """References of another boot are none; the volume mounts on demand."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    after = engine.rebooted()
    view = after.volumes.get("v")
    assert (view.state, view.references) == (State.READY, 0)
    await after.uses.mount("v", "container", DOCKER)
    assert after.counted("v") == 1


async def test_references_of_another_boot_are_none(engine: Engine) -> None:
    """Where the run folder outlived a reboot, and the volume is mounted again already."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    view = engine.restarted(boot="next boot").volumes.get("v")
    assert (view.state, view.references) == (State.MOUNTED, 0)


async def test_references_without_a_mount_are_dropped(engine: Engine) -> None:
    """An engine that took a managed plugin's mounts down will not send an Unmount."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.kernel.mounted.clear()
    after = engine.restarted()
    assert (after.counted("v"), after.volumes.get("v").references) == (0, 0)


async def test_a_mount_that_nobody_counted_is_taken_down(engine: Engine) -> None:
    """The daemon died between the mount and the count: the caller had no answer."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.references.save("v", engine.references.none())
    after = engine.restarted()
    assert after.volumes.get("v").state is State.MOUNTED
    await after.janitor.look()
    assert not after.is_mounted("v")


async def test_leaks_of_the_time_before_are_collected(engine: Engine) -> None:
    """The engine was killed while there was no daemon to tell."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    after = engine.restarted()
    after.clock.now += GRACE
    for _ in range(2):
        await after.janitor.look()
    assert not after.is_mounted("v")


async def test_a_live_container_survives_it_all(engine: Engine) -> None:
    """Its count is kept, restart after restart, because it is seen to hold the volume."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.kernel.holders["v"] = [holder()]
    for _ in range(3):
        engine = engine.restarted()
        engine.clock.now += GRACE
        for _ in range(3):
            await engine.janitor.look()
    assert engine.is_mounted("v")
    assert engine.counted("v") == 1


@pytest.mark.parametrize("harm", ["truncated", "flipped", "emptied", "missing"])
async def test_an_unreadable_record_is_one_broken_volume(engine: Engine, harm: str) -> None:
    """Told with the file's path and the reason; not changed, not mounted, not deleted."""
    for name in ("bad", "good"):
        await engine.volumes.create(name, Options())
    path = engine.store.home("bad") / "volume.json"
    content = path.read_bytes()
    damaged = {
        "truncated": content[:-20],
        "flipped": content.replace(b'"name": "bad"', b'"name": "bat"'),
        "emptied": b"",
        "missing": None,
    }[harm]
    path.unlink() if damaged is None else path.write_bytes(damaged)
    after = engine.restarted()
    view = after.volumes.get("bad")
    assert view.state is State.BROKEN
    assert str(path) in view.reason
    assert {name for name, _ in after.volumes.listing()} == {"bad", "good"}
    for refused in (
        after.uses.mount("bad", "container", DOCKER),
        after.volumes.create("bad", Options()),
        after.volumes.remove("bad"),
    ):
        with pytest.raises(BrokenVolume, match="bad is broken"):
            await refused
    await after.uses.mount("good", "container", DOCKER)
    await after.janitor.look()
    await after.janitor.sample()
    assert damaged is None or path.read_bytes() == damaged
    assert (after.store.home("bad") / "data").exists()


async def test_a_volume_of_a_backend_that_is_off_is_kept(engine: Engine) -> None:
    """It is told why it cannot be used, and is back when the backend is."""
    await engine.volumes.create("v", Options())
    engine.killed()
    without = Engine(engine.folder, engine.kernel)
    without.host.backends = {}
    view = without.start().volumes.get("v")
    assert (view.state, view.backend) == (State.BROKEN, "fake")
    assert "backend fake is not on" in view.reason
    assert without.restarted().volumes.get("v").state is State.READY


async def test_a_foreign_mount_is_not_taken_for_the_volume(engine: Engine) -> None:
    """Nor does it keep the daemon from starting."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.kernel.mounted[engine.mountpoint("v")] = "something else"
    after = engine.restarted()
    assert after.volumes.get("v").mountpoint == ""


async def test_a_mount_without_a_volume_stays_and_is_told(
    engine: Engine, kernel: FakeKernel, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be the administrator's, in a folder that was given for ours by mistake."""
    kernel.mounted[engine.mountpoint("ghost")] = "whatever"
    with caplog.at_level(logging.WARNING):
        after = engine.restarted()
    assert list(kernel.mounted) == [engine.mountpoint("ghost")]
    assert after.volumes.views() == []
    assert "there is no volume ghost" in caplog.text


async def test_what_is_half_done_is_swept(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Half-made and half-deleted volumes go, with their mounts; whole ones stay."""
    await engine.volumes.create("v", Options())
    half_made = engine.store.stage()
    (half_made / "data").touch()
    mountpoint = engine.host.mounts_dir / half_made.name
    mountpoint.mkdir()
    engine.kernel.mounted[mountpoint] = "half made"
    (engine.store.trash / "rm-0123" / "data").mkdir(parents=True)
    after = engine.restarted()
    assert [view.name for view in after.volumes.views()] == ["v"]
    assert "there is no volume" not in caplog.text
    after.recovery.sweep()
    assert [path.name for path in after.store.volumes.iterdir()] == ["v"]
    assert list(after.store.trash.iterdir()) == []
    assert not mountpoint.exists()
    assert mountpoint not in after.kernel.mounted


async def test_nothing_is_swept_before_what_took_its_place_is_on_the_disk(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where the disk does not say so."""
    half_made = engine.store.stage()
    after = engine.restarted()
    seen: list[bool] = []

    def sync(_: Path) -> None:
        seen.append(half_made.exists())
        if len(seen) == 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "sync_filesystem", sync)
    after.recovery.sweep()
    assert half_made.exists()
    after.recovery.sweep()
    assert (seen, half_made.exists()) == ([True, True], False)


async def test_mountpoints_of_no_volume_go_and_no_mount_is_asked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those alone that are ours: a look at what is mounted may take for ever."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    folder = engine.host.mounts_dir
    mountpoints.make(folder / "gone")
    (folder / "theirs").mkdir(mode=0o755)
    (folder / ".new-0123").mkdir()
    engine.kernel.mounted[folder / "ghost"] = "whatever"
    (folder / "ghost").mkdir(mode=0)
    asked: list[str] = []
    is_one = mountpoints.is_one

    def noted(path: Path) -> bool:
        asked.append(path.name)
        return is_one(path)

    monkeypatch.setattr(mountpoints, "is_one", noted)
    engine.restarted()
    assert {path.name for path in folder.iterdir()} == {"v", "theirs", ".new-0123", "ghost"}
    assert set(asked) == {"gone", "theirs"}


@pytest.mark.parametrize(
    ("code", "starts"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EROFS, False)]
)
async def test_a_full_run_folder_keeps_no_daemon_from_starting(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, code: int, starts: bool
) -> None:
    """One that cannot be had at all does: nothing could be mounted."""

    def refused() -> None:
        raise OSError(code, os.strerror(code))

    engine.killed()
    after = Engine(engine.folder, engine.kernel)
    monkeypatch.setattr(after.references, "open", refused)
    with nullcontext() if starts else pytest.raises(OSError, match="Read-only"):
        after.start()


async def test_references_that_cannot_be_dropped_stop_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They only delay; the next start tries again."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.kernel.mounted.clear()

    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    engine.killed()
    after = Engine(engine.folder, engine.kernel)
    with monkeypatch.context() as patched:
        patched.setattr(after.references, "save", refused)
        after.start()
    assert after.volumes.get("v").references == 0
    assert "references not dropped" in caplog.text
    assert after.counted("v") == 1
    assert after.restarted().counted("v") == 0


async def test_a_mount_elsewhere_is_none_of_ours(engine: Engine) -> None:
    """Whatever the last part of its path is."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.kernel.mounted = {Path("/elsewhere/v"): "whatever"}
    view = engine.restarted().volumes.get("v")
    assert (view.state, view.references) == (State.READY, 0)


async def test_what_is_half_done_with_data_that_was_kept_stays(engine: Engine) -> None:
    """It is nobody's for the moment, and keeps no daemon from starting."""
    await engine.volumes.create("v", Options())
    half_taken = engine.host.snapshot_store.stage("v", "0123")
    await engine.volumes.remove("v", keep_data=True)
    after = engine.restarted()
    assert after.recovery.half_taken == []
    assert half_taken.exists()


async def test_only_a_mountpoint_may_be_left(engine: Engine) -> None:
    """The build folder was deleted already when the daemon was killed."""
    mountpoint = engine.host.mounts_dir / ".new-0123"
    mountpoint.mkdir()
    engine.restarted().recovery.sweep()
    assert not mountpoint.exists()


async def test_the_sweep_spares_what_is_being_made(engine: Engine) -> None:
    """It runs while the daemon serves, and looks much like a creation does from outside."""
    gate = engine.kernel.gate("create", "v")
    creation = asyncio.create_task(engine.volumes.create("v", Options()))
    await asyncio.to_thread(gate.wait_for_call)
    engine.recovery.sweep()
    gate.open()
    await creation
    assert engine.restarted().volumes.get("v").state is State.READY


async def test_what_cannot_be_swept_stops_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, the others are swept, and the janitor tries again."""
    homes = [engine.store.stage() for _ in range(2)]
    stuck = min(homes)
    after = engine.restarted()
    abandon = after.backend.abandon

    def fail(place: object) -> None:
        if getattr(place, "home", None) == stuck:
            raise OSError("Device or resource busy")
        abandon(place)  # type: ignore[arg-type]  # a place, seen through getattr

    monkeypatch.setattr(after.backend, "abandon", fail)
    for _ in range(3):
        after.recovery.sweep()
    assert after.store.half_made() == [stuck]
    assert caplog.text.count("busy; it is tried again") == 1
    monkeypatch.setattr(after.backend, "abandon", abandon)
    after.recovery.sweep()
    assert after.store.half_made() == []


async def test_damaged_references_count_as_none(engine: Engine) -> None:
    """They only ever delay an unmount; who really holds a volume is seen elsewhere."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    (engine.references.folder / "v.json").write_text("{")
    after = engine.restarted()
    assert after.volumes.get("v").references == 0
    assert after.volumes.get("v").state is State.MOUNTED


async def test_answers_wait_until_the_records_are_read(kernel: FakeKernel, tmp_path: Path) -> None:
    """Before that nothing is said: a Get that found nothing would make Docker forget a volume."""
    engine = Engine(tmp_path, kernel)
    waiting = asyncio.create_task(engine.daemon.ready())
    await asyncio.sleep(0)
    assert not waiting.done()
    engine.start()
    await waiting
