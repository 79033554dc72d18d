"""The verbs: what repeats, refusals and failures of Create, Mount and Unmount come to."""

import asyncio
import errno
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.engine.memory.references import OPERATOR, PODMAN_ID
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.running.threads import Threads
from convoy_py.errors import (
    Corrupt,
    InvalidName,
    NoSpace,
    NotFound,
    OperationFailed,
    OptionsDiffer,
    SnapshotNotFound,
    Unavailable,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options, Spec, State, Usage
from tests.fakes_engine import NOW, Engine

DOCKER = "100:1"
RESTARTED = "200:2"


async def test_a_created_volume_is_there(engine: Engine) -> None:
    """With its options, ready, and not mounted."""
    await engine.volumes.create("v", Options(size=4096))
    view = engine.volumes.get("v")
    assert (view.state, view.mountpoint, view.references) == (State.READY, "", 0)
    assert view.spec is not None
    assert view.spec.size == 4096
    assert engine.volumes.listing() == [("v", "")]


async def test_what_a_new_volume_takes_is_known_at_once(engine: Engine) -> None:
    """Before it was mounted, and before the janitor's first look."""
    await engine.volumes.create("v", Options(size=4096))
    usage = engine.volumes.get("v").usage
    assert usage is not None
    assert usage.allocated == 4096


async def test_creating_again_touches_nothing(engine: Engine) -> None:
    """With the same options, or with fewer of them."""
    await engine.volumes.create("v", Options(size=4096, uid=7))
    before = engine.volumes.get("v")
    await engine.volumes.create("v", Options(size=4096, uid=7))
    await engine.volumes.create("v", Options())
    assert engine.volumes.get("v") == before
    assert engine.kernel.count("create", "v") == 1


async def test_other_options_are_refused_by_name(engine: Engine) -> None:
    """It says what is, what was asked, and only of those that differ."""
    await engine.volumes.create("v", Options(size=4096, uid=7))
    with pytest.raises(OptionsDiffer, match=r"v .*size is 4KiB, asked 8KiB$"):
        await engine.volumes.create("v", Options(size=8192, uid=7))
    with pytest.raises(OptionsDiffer, match=r"v .*backend is .*, asked another$"):
        await engine.volumes.create("v", Options(backend="another"))
    await engine.volumes.create("v", Options(backend=engine.backend.name))
    assert engine.kernel.count("create", "v") == 1


async def test_creates_at_once_are_one(engine: Engine) -> None:
    """All join the one that builds; a rival with other options is told."""
    asked = [Options(size=4096)] * 15 + [Options(size=8192)]
    results = await asyncio.gather(
        *(engine.volumes.create("v", options) for options in asked), return_exceptions=True
    )
    assert results[:15] == [None] * 15
    assert isinstance(results[15], OptionsDiffer)
    assert engine.kernel.count("create", "v") == 1


async def test_a_failed_create_leaves_nothing(engine: Engine) -> None:
    """No volume, no folder, no promised space; and the name is free."""
    engine.kernel.failures["create", "v"] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(NoSpace, match="volume v: create failed: No space left"):
        await engine.volumes.create("v", Options(size=4096))
    assert engine.volumes.views() == []
    assert list(engine.store.volumes.iterdir()) == []
    assert (await engine.daemon.space()).promised == 0
    del engine.kernel.failures["create", "v"]
    await engine.volumes.create("v", Options(size=4096))


@pytest.mark.parametrize("name", ["", "..", "a/b", "-v", "v\n", "ü", "a" * 129])
async def test_names_that_are_none_are_refused(engine: Engine, name: str) -> None:
    """Before anything is done with them; to reads they are unknown."""
    with pytest.raises(InvalidName):
        await engine.volumes.create(name, Options())
    with pytest.raises(InvalidName):
        await engine.volumes.clone(name, Options(source="db"), Progress())
    with pytest.raises(VolumeNotFound):
        engine.volumes.get(name)
    assert engine.kernel.calls == []


async def test_what_no_backend_can_do_is_refused(engine: Engine) -> None:
    """Each with its reason; and a backend that is not on is named."""
    with pytest.raises(
        Unsupported, match=r"fake: option path is not for backend=fake \(which takes size, "
    ):
        await engine.volumes.create("v", Options(path="/x"))
    with pytest.raises(Unsupported, match="backend loopback is not on here; use fake"):
        await engine.volumes.create("v", Options(backend="loopback"))


async def test_a_folder_is_dealt_with_by_the_threads_of_its_storage(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is asked for, or that a volume has, or had before it was forgotten."""
    asked: list[str | None] = []
    of = engine.blocking.of

    async def noted(path: str | None) -> Threads:
        asked.append(path)
        return await of(None)

    monkeypatch.setattr(engine.blocking, "of", noted)
    monkeypatch.setattr(engine.steps, "kept_path", lambda _: "/kept")
    await engine.volumes.create("v", Options())
    assert set(asked) == {None}
    for options, adopt, path in (
        (Options(path="/asked"), False, "/asked"),
        (Options(path="/asked"), True, "/asked"),
        (Options(), True, "/kept"),
    ):
        asked.clear()
        with suppress(Unsupported, NotFound):  # there are no paths here
            await engine.volumes.create("new", options, adopt=adopt)
        assert asked[-1] == path
    entry = engine.entries.get("v")
    entry.place = replace(entry.usable()[1], spec=Spec(backend="fake", path="/has"))
    for options, path in ((Options(), "/has"), (Options(path="/asked"), "/asked")):
        with suppress(OptionsDiffer):
            await engine.volumes.create("v", options)
        assert asked[-1] == path


async def test_what_is_unknown_is_told_as_what_it_would_be(engine: Engine) -> None:
    """A private clone is nobody's affair; a snapshot of what is not there is none of it."""
    await engine.volumes.create("v", Options())
    for name, told in (("v@a", SnapshotNotFound), ("v#a", VolumeNotFound), ("w@a", VolumeNotFound)):
        with pytest.raises(VolumeNotFound) as error:
            engine.entries.get(name)
        assert error.type is told


async def test_a_create_waits_for_deletions_that_make_room(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space of a volume that was just removed can be used at once."""
    await engine.volumes.create("old", Options())
    gate = engine.kernel.gate("destroy", "old")
    removal = asyncio.create_task(engine.volumes.remove("old"))
    await asyncio.to_thread(gate.wait_for_call)
    engine.kernel.failures["create", "new"] = OSError(errno.ENOSPC, "full")
    settled = engine.deletions.settled

    async def deleted(seconds: float | None = None) -> None:
        gate.open()
        await settled(seconds)
        del engine.kernel.failures["create", "new"]

    monkeypatch.setattr(engine.deletions, "settled", deleted)
    await asyncio.gather(removal, engine.volumes.create("new", Options()))
    assert engine.kernel.count("create", "new") == 2


async def test_mounted_from_the_first_to_the_last(engine: Engine) -> None:
    """Two containers, stopped in any order: it goes with the second."""
    await engine.volumes.create("v", Options())
    paths = {await engine.uses.mount("v", name, DOCKER) for name in ("a", "b")}
    assert paths == {str(engine.mountpoint("v") / "exposed")}
    assert engine.kernel.count("mount", "v") == 1
    await engine.uses.unmount("v", "a")
    assert engine.is_mounted("v")
    assert engine.volumes.get("v").state is State.MOUNTED
    await engine.uses.unmount("v", "b")
    assert not engine.is_mounted("v")
    assert engine.volumes.get("v").state is State.READY
    assert engine.counted("v") == 0


async def test_docker_cp_does_not_unmount_under_the_container(engine: Engine) -> None:
    """It mounts and unmounts with the running container's own ID."""
    await engine.volumes.create("v", Options())
    for _ in range(2):
        await engine.uses.mount("v", "container", DOCKER)
    await engine.uses.unmount("v", "container")
    assert engine.is_mounted("v")
    await engine.uses.unmount("v", "container")
    assert not engine.is_mounted("v")


async def test_an_engine_that_was_killed_counts_anew(engine: Engine) -> None:
    """It starts its containers with their old IDs and never ends what went before."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    await engine.uses.mount("v", "container", RESTARTED)
    assert engine.counted("v") == 1
    await engine.uses.unmount("v", "container")
    assert not engine.is_mounted("v")


async def test_a_folder_can_be_read_without_a_mount(engine: Engine) -> None:
    """What lies in an image is to be had only while that is mounted."""
    await engine.volumes.create("plain", Options())
    await engine.volumes.create("image", Options(fs=Filesystem.EXT4))
    engine.write("plain", "precious")
    folder = Path(engine.volumes.get("plain").data)
    assert "precious" in [path.read_text() for path in folder.iterdir()]
    assert engine.volumes.get("image").data == ""
    path = await engine.uses.mount("image", "container", DOCKER)
    assert engine.volumes.get("image").data == path
    await engine.uses.unmount("image", "container")
    assert engine.volumes.get("image").data == ""


async def test_podman_counts_for_itself(engine: Engine) -> None:
    """A Mount that it repeats after its short time limit is the same one."""
    await engine.volumes.create("v", Options())
    for epoch in (DOCKER, RESTARTED):
        await engine.uses.mount("v", PODMAN_ID, epoch)
    await engine.uses.mount("v", "container", DOCKER)
    await engine.uses.unmount("v", PODMAN_ID)
    assert engine.is_mounted("v")
    await engine.uses.unmount("v", "container")
    assert not engine.is_mounted("v")


async def test_references_are_written_before_the_answer(engine: Engine) -> None:
    """A daemon that is killed after it answered has lost no count."""
    await engine.volumes.create("v", Options())
    for count in (1, 2, 3):
        await engine.uses.mount("v", f"container {count}", DOCKER)
        assert engine.counted("v") == count
    await engine.uses.unmount("v", "container 1")
    assert engine.counted("v") == 2


async def test_a_mount_that_failed_is_not_counted(engine: Engine) -> None:
    """The engine sends no Unmount for it."""
    await engine.volumes.create("v", Options())
    engine.kernel.failures["mount", "v"] = OSError(errno.ENOMEM, "Cannot allocate memory")
    with pytest.raises(OperationFailed, match="volume v: mount failed: Cannot allocate"):
        await engine.uses.mount("v", "container", DOCKER)
    assert (engine.counted("v"), engine.volumes.get("v").references) == (0, 0)
    assert engine.volumes.get("v").state is State.READY


async def test_damage_seen_at_a_mount_is_told_until_one_succeeds(engine: Engine) -> None:
    """Get says that the volume is broken, and why; it can be mounted and removed all the same."""
    await engine.volumes.create("v", Options())
    engine.kernel.failures["mount", "v"] = Corrupt("volume v: its image was cut")
    with pytest.raises(Corrupt):
        await engine.uses.mount("v", "container", DOCKER)
    view = engine.volumes.get("v")
    assert (view.state, view.reason) == (State.BROKEN, "volume v: its image was cut")
    del engine.kernel.failures["mount", "v"]
    await engine.uses.mount("v", "container", DOCKER)
    assert engine.volumes.get("v").state is State.MOUNTED
    assert engine.volumes.get("v").reason == ""


async def test_a_mount_that_cannot_be_recorded_is_taken_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the mount nor the count remains."""
    await engine.volumes.create("v", Options())

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(engine.references, "save", refuse)
    with pytest.raises(OperationFailed, match="volume v: mount failed"):
        await engine.uses.mount("v", "container", DOCKER)
    assert not engine.is_mounted("v")
    assert engine.volumes.get("v").references == 0


async def test_unmounts_of_the_unknown_are_done(engine: Engine) -> None:
    """Volumes and IDs that nobody heard of, and one Unmount too many."""
    await engine.volumes.create("v", Options())
    await engine.uses.unmount("nobody", "container")
    await engine.uses.mount("v", "container", DOCKER)
    await engine.uses.unmount("v", "stranger")
    assert engine.is_mounted("v")
    await engine.uses.unmount("v", "container")
    await engine.uses.unmount("v", "container")
    assert engine.counted("v") == 0
    assert engine.kernel.count("unmount", "v") == 1


async def test_a_mount_is_taken_back_only_in_its_own_epoch(engine: Engine) -> None:
    """Its repeat by an engine that was restarted meanwhile has been answered, and counts."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", RESTARTED)
    await engine.uses.release("v", "container", DOCKER)
    assert engine.is_mounted("v")
    await engine.uses.release("v", "container", RESTARTED)
    assert not engine.is_mounted("v")
    await engine.uses.release("nobody", "container", DOCKER)


async def test_a_name_holds_for_one_of_an_operator_and_an_engine(engine: Engine) -> None:
    """Whose end would else be taken for the other's, under a container that runs."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    with pytest.raises(VolumeInUse, match="under the ID container; take another name"):
        await engine.uses.mount("v", "container", OPERATOR)
    await engine.uses.mount("v", "me", OPERATOR)
    with pytest.raises(VolumeInUse, match="under the ID me"):
        await engine.uses.mount("v", "me", DOCKER)
    assert engine.entries.get("v").references.total == 2


async def test_nothing_is_mounted_where_no_container_would_see_it(engine: Engine) -> None:
    await engine.volumes.create("v", Options())
    engine.host.isolation = "this daemon has a mount namespace of its own"
    with pytest.raises(Unavailable, match="volume v: this daemon has a mount namespace"):
        await engine.uses.mount("v", "container", DOCKER)
    assert engine.kernel.count("mount", "v") == 0


async def test_an_unmount_that_sees_nothing_keeps_what_was_seen(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of how much is in the volume; one that sees something tells that."""
    await engine.volumes.create("v", Options())
    before = engine.volumes.get("v").usage
    for found in (None, Usage(used=5, allocated=5, sampled=NOW)):
        await engine.uses.mount("v", "container", DOCKER)
        monkeypatch.setattr(engine.backend, "parting_usage", lambda *_, found=found: found)
        await engine.uses.unmount("v", "container")
        assert engine.volumes.get("v").usage == (found or before) is not None


async def test_a_busy_unmount_succeeds_and_lingers(engine: Engine) -> None:
    """An error would make the engine keep its count; the volume is told as mounted meanwhile."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "container", DOCKER)
    engine.kernel.busy.add("v")
    await engine.uses.unmount("v", "container")
    assert engine.volumes.get("v").state is State.MOUNTED
    assert engine.volumes.get("v").references == 0
    assert engine.entries.volumes["v"].lingering


async def test_a_lingering_volume_is_mounted_again_as_it_is(engine: Engine) -> None:
    """The next container uses the mount that could not be taken down."""
    await engine.volumes.create("v", Options())
    await engine.uses.mount("v", "first", DOCKER)
    engine.kernel.busy.add("v")
    await engine.uses.unmount("v", "first")
    await engine.uses.mount("v", "second", DOCKER)
    assert engine.kernel.count("mount", "v") == 1
    assert not engine.entries.volumes["v"].lingering
