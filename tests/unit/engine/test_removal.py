"""A volume that is used is never removed, and one that is not is removed whole."""

import pytest

from convoy_py.engine.memory.references import OPERATOR, UNSEEN
from convoy_py.engine.steps import volumes as steps
from convoy_py.engine.verbs.uses import FRESH_SECONDS
from convoy_py.errors import (
    BrokenVolume,
    ConvoyError,
    NotFound,
    VolumeInUse,
    VolumeNotFound,
)
from convoy_py.models.volume import Options, State
from tests.fakes_engine import Engine, holder

DOCKER = "100:1"
RESTARTED = "200:2"


async def test_a_removed_volume_is_gone(engine: Engine) -> None:
    """From memory, from the disk, and its promised space too."""
    await engine.volumes.create("v", Options(size=4096))
    await engine.volumes.remove("v")
    assert engine.volumes.views() == []
    assert list(engine.store.volumes.iterdir()) == []
    assert engine.store.half_deleted() == []
    assert (await engine.daemon.space()).promised == 0
    with pytest.raises(VolumeNotFound):
        await engine.volumes.remove("v")


async def test_a_fresh_mount_is_in_use(engine: Engine) -> None:
    """The container that it was made for may not have begun to show yet."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.clock.now += FRESH_SECONDS - 1
    with pytest.raises(VolumeInUse, match="v is in use by a mount made or taken over 9 s ago"):
        await engine.volumes.remove("v")
    assert engine.is_mounted("v")
    engine.clock.now += 1
    await engine.volumes.remove("v")
    assert not engine.is_mounted("v")


async def test_who_really_uses_it_is_named(engine: Engine) -> None:
    """Each once; nothing is unmounted, nothing is deleted."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.clock.now += FRESH_SECONDS
    engine.kernel.holders["v"] = [holder(42), holder(42)]
    with pytest.raises(VolumeInUse) as refused:
        await engine.volumes.remove("v")
    expected = "volume v is in use by container 0123456789ab (pid 42, postgres)"
    assert str(refused.value) == expected
    assert engine.is_mounted("v")
    assert engine.volumes.get("v").references == 1


async def test_leaked_references_keep_no_volume(engine: Engine) -> None:
    """An engine that was killed left a count that nobody stands behind."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.clock.now += FRESH_SECONDS
    await engine.volumes.remove("v")
    assert engine.counted("v") == 0
    assert engine.volumes.views() == []


async def test_an_engine_whose_containers_are_hidden_keeps_a_volume(engine: Engine) -> None:
    """That nobody is seen to use it proves nothing."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", f"{UNSEEN}token:1")
    engine.clock.now += FRESH_SECONDS
    with pytest.raises(VolumeInUse, match="an engine whose containers this daemon cannot see"):
        await engine.volumes.remove("v")
    assert engine.is_mounted("v")


async def test_an_operators_hold_keeps_a_volume(engine: Engine) -> None:
    """However old it is and whoever is seen: only `convoy umount` ends it."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "nightly copy", OPERATOR)
    engine.clock.now += 1_000_000
    with pytest.raises(VolumeInUse, match="`convoy umount v --hold 'nightly copy'`"):
        await engine.volumes.remove("v")
    await engine.uses.unmount("v", "nightly copy")
    await engine.volumes.remove("v")


async def test_what_cannot_be_detached_is_not_removed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although nobody is seen: deleting the data of a live device corrupts it."""
    monkeypatch.setattr(steps, "ATTEMPTS", 2)
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.clock.now += FRESH_SECONDS
    engine.kernel.busy.add("v")
    with pytest.raises(VolumeInUse, match="cannot see"):
        await engine.volumes.remove("v")
    assert engine.volumes.get("v").state is State.MOUNTED
    assert engine.counted("v") == 1
    assert (engine.store.home("v") / "data").exists()


async def test_a_refused_removal_tells_what_it_did(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who appeared only without our mount keeps the data; the mount is gone, and Get says so."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.clock.now += FRESH_SECONDS
    looks = iter([[], [holder()]])
    monkeypatch.setattr(engine.backend, "holders", lambda *_: next(looks))
    with pytest.raises(VolumeInUse):
        await engine.volumes.remove("v")
    assert not engine.is_mounted("v")
    assert engine.volumes.get("v").mountpoint == ""


async def test_data_can_be_kept_and_taken_over_again(engine: Engine) -> None:
    """The volume is forgotten, its name taken; adopting finds its options again."""
    await engine.volumes.create("v", Options(size=4096, uid=7))
    before = engine.volumes.get("v").spec
    await engine.volumes.remove("v", keep_data=True)
    assert engine.volumes.views() == []
    assert await engine.daemon.kept() == ["v"]
    with pytest.raises(ConvoyError, match=r"data is kept in .*--adopt v"):
        await engine.volumes.create("v", Options())
    await engine.volumes.create("v", Options(), adopt=True)
    assert engine.volumes.get("v").spec == before
    assert await engine.daemon.kept() == []


async def test_a_record_that_was_lost_is_made_anew(engine: Engine) -> None:
    """Of a volume that has none; one that cannot be read may still be mended by hand."""
    for name in ("lost", "damaged", "whole"):
        await engine.volumes.create(name, Options(uid=7))
        engine.write(name, "data")
    (engine.store.home("lost") / "volume.json").unlink()
    (engine.store.home("damaged") / "volume.json").write_text("{")
    after = engine.restarted()
    with pytest.raises(BrokenVolume):
        await after.volumes.create("lost", Options(backend="fake"))
    await after.volumes.create("lost", Options(backend="fake"), adopt=True)
    assert after.volumes.get("lost").state is State.READY
    assert after.read("lost") == "data"
    with pytest.raises(BrokenVolume):
        await after.volumes.create("damaged", Options(), adopt=True)
    await after.volumes.create("whole", Options(), adopt=True)
    assert after.store.read("whole").spec.uid == 7


async def test_there_must_be_something_to_adopt(engine: Engine) -> None:
    """Told with what would be taken, and where it would be looked for."""
    with pytest.raises(NotFound, match=r"v: nothing to adopt; put a folder data into .*/v first"):
        await engine.volumes.create("v", Options(), adopt=True)


async def test_a_removal_does_not_wait_for_slow_deletion(engine: Engine) -> None:
    """The name is free at once; the data goes in the background."""
    await engine.volumes.create("v", Options())
    gate = engine.kernel.gate("destroy", "v")
    await engine.volumes.remove("v")
    await engine.volumes.create("v", Options(size=4096))
    gate.open()
    await engine.operations.drain(5)
    assert engine.store.half_deleted() == []
