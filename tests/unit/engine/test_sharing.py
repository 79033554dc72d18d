"""Several hosts on one root: what each may do, and what it knows of the others."""

import asyncio
import errno
import shutil
from contextlib import suppress
from pathlib import Path
from queue import Queue

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    Conflict,
    OptionsDiffer,
    Unavailable,
    Unsupported,
    VolumeElsewhere,
    VolumeInUse,
    VolumeNotFound,
)
from convoy_py.linux import shutdown
from convoy_py.models.claims import Member, Mode
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.volume import Options
from convoy_py.state import claims
from tests.fakes_engine import Engine
from tests.unit.engine.sharing import FOLDER, IMAGE, names, seen


async def test_what_one_makes_and_removes_the_other_lists(hosts: tuple[Engine, Engine]) -> None:
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    await a.volumes.create("etc", FOLDER)
    assert names(b) == []
    await seen(b)
    assert names(b) == ["db", "etc"]
    assert b.volumes.get("db").spec == a.volumes.get("db").spec
    await b.volumes.remove("db")
    await seen(a)
    assert names(a) == ["etc"]
    assert [each.name for each in a.trash.views()] == ["db"]


async def test_a_name_that_another_host_has_is_had(hosts: tuple[Engine, Engine]) -> None:
    """Also before it is listed here."""
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    await b.volumes.create("db", IMAGE)
    assert b.volumes.get("db").created == a.volumes.get("db").created
    await a.uses.mount("db", "m", "e")
    await b.volumes.create("db", IMAGE)
    with pytest.raises(OptionsDiffer):
        await b.volumes.create("db", Options(fs=Filesystem.XFS))


@pytest.mark.parametrize("options", [IMAGE, FOLDER], ids=["image", "directory"])
async def test_a_volume_is_mounted_where_it_was_not_made(
    hosts: tuple[Engine, Engine], options: Options
) -> None:
    a, b = hosts
    await a.volumes.create("db", options)
    await b.uses.mount("db", "m", "e")  # also before it is listed there
    assert b.is_mounted("db")
    await seen(a)
    assert a.entries.get("db").hosts == ("host-2",)


async def test_an_image_that_one_host_uses_is_the_others_to_look_at_alone(
    hosts: tuple[Engine, Engine],
) -> None:
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    await seen(b)
    await a.uses.mount("db", "m", "e")
    for refused in (
        b.uses.mount("db", "n", "e"),
        b.volumes.remove("db"),
        b.volumes.rename("db", "other"),
        b.volumes.protect("db", on=True),
        b.snapshot("db", "nightly"),
    ):
        with pytest.raises(VolumeElsewhere, match="held by host-1: do it there"):
            await refused
    assert not b.is_mounted("db")
    await a.uses.unmount("db", "m")
    await b.uses.mount("db", "n", "e")
    assert b.is_mounted("db")
    with pytest.raises(VolumeElsewhere):
        await a.uses.mount("db", "m", "e")


async def test_a_directory_is_used_by_both_and_removed_by_who_has_it_alone(
    hosts: tuple[Engine, Engine],
) -> None:
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await seen(b)
    await a.uses.mount("etc", "m", "e")
    await b.uses.mount("etc", "n", "e")
    await seen(a)
    assert a.entries.get("etc").hosts == ("host-1", "host-2")
    await b.uses.unmount("etc", "n")
    with pytest.raises(VolumeElsewhere, match="host-1"):
        await b.volumes.remove("etc")
    assert a.is_mounted("etc")
    await a.uses.unmount("etc", "m")
    await b.volumes.remove("etc")
    with pytest.raises(VolumeNotFound):
        await a.uses.mount("etc", "m", "e")
    assert names(a) == []


async def test_a_refused_removal_leaves_the_others_as_they_were(
    hosts: tuple[Engine, Engine],
) -> None:
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await seen(b)
    await a.uses.mount("etc", "m", "e")
    with pytest.raises(VolumeInUse):
        await a.volumes.remove("etc")
    await b.uses.mount("etc", "n", "e")
    assert b.is_mounted("etc")


async def test_what_changed_elsewhere_is_known_to_who_works_on_it(
    hosts: tuple[Engine, Engine],
) -> None:
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await seen(b)
    await a.volumes.protect("etc", on=True)
    await b.volumes.rename("etc", "usr")
    await seen(a)
    assert (names(a), a.volumes.get("usr").protected) == (["usr"], True)


async def test_snapshots_of_the_other_are_seen(hosts: tuple[Engine, Engine]) -> None:
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    await a.snapshot("db", "nightly")
    await a.settled()
    await seen(b)
    assert [each.name for each in b.volumes.get("db").snapshots] == ["nightly"]
    await b.snapshots.delete("db@nightly")
    await seen(a)
    assert a.volumes.get("db").snapshots == ()


async def test_no_host_sweeps_what_another_is_building(hosts: tuple[Engine, Engine]) -> None:
    a, b = hosts
    home = a.store.stage()
    b = b.restarted()
    b.recovery.sweep()
    assert home.exists()
    assert a.restarted().store.half_made() == [home]


async def test_a_daemon_that_comes_back_keeps_what_is_mounted_and_lets_go_of_the_rest(
    hosts: tuple[Engine, Engine],
) -> None:
    a, b = hosts
    for name in ("db", "log"):
        await a.volumes.create(name, IMAGE)
        await a.uses.mount(name, "m", "e")
    await seen(b)
    a.kernel.mounted.pop(a.mountpoint("log"))
    a = a.restarted()
    await seen(a)
    assert a.sharing
    await a.sharing.tidy()
    await b.uses.mount("log", "n", "e")
    with pytest.raises(VolumeElsewhere):
        await b.uses.mount("db", "n", "e")
    await a.uses.unmount("db", "m")
    await b.uses.mount("db", "n", "e")


async def test_a_takeover_that_was_cut_off_is_completed_before_anything_else(
    hosts: tuple[Engine, Engine],
) -> None:
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    a.write("db", "precious")
    await a.uses.mount("db", "m", "e")
    await seen(b)
    assert b.sharing
    with pytest.raises(VolumeElsewhere, match="host-1"):
        b.sharing._claiming.take("db", is_off=False)
    assert b.sharing._claiming.take("db", is_off=True) == ["host-1"]
    b = b.restarted()
    for verb in (b.uses.mount("db", "n", "e"), b.volumes.remove("db")):
        with pytest.raises(Conflict, match="repeat `convoy takeover db`"):
            await verb
    assert not b.is_mounted("db")


async def test_a_directory_is_taken_by_ending_who_is_dead(hosts: tuple[Engine, Engine]) -> None:
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await a.uses.mount("etc", "m", "e")
    await seen(b)
    with pytest.raises(VolumeElsewhere):
        await b.volumes.remove("etc")
    b.backend.image = lambda place: None  # type: ignore[method-assign]
    taken = await b.takeovers.take_over("etc", is_off=True, progress=Progress())
    assert (taken.losers, taken.lost) == (("host-1",), "")
    await b.volumes.remove("etc")


async def test_a_claim_that_was_only_read_is_confirmed_by_a_change(
    hosts: tuple[Engine, Engine],
) -> None:
    """What was read may be of before it was given back."""
    a, _ = hosts
    await a.volumes.create("db", IMAGE)
    await a.uses.mount("db", "m", "e")
    a = a.restarted()
    await seen(a)
    assert a.sharing
    before = a.sharing._claiming.look("db")
    await a.uses.mount("db", "n", "e")
    after = a.sharing._claiming.look("db")
    assert before
    assert after
    assert (before.users, before.number) < (after.users, after.number)
    await a.volumes.protect("db", on=True)
    await a.uses.mount("db", "o", "e")
    assert a.sharing._claiming.has_alone("db")


async def test_nothing_is_forgotten_while_the_root_is_away(hosts: tuple[Engine, Engine]) -> None:
    """To an engine a volume that is not told does not exist."""
    a, _ = hosts
    for name, options in (("db", IMAGE), ("etc", FOLDER)):
        await a.volumes.create(name, options)
        await a.uses.mount(name, "m", "e")
    await a.volumes.create("log", IMAGE)
    root = a.store.root
    away = root.rename(root.with_name("away"))
    (root / "volumes").mkdir(parents=True)
    assert a.following
    for name in ("db", "etc", "log"):
        with pytest.raises(Unavailable, match="unmounted"):
            await a.volumes.protect(name, on=True)
        await a.uses.unmount(name, "m")
    with suppress(Unavailable):
        await a.following.look()
    assert names(a) == ["db", "etc", "log"]
    shutil.rmtree(root)
    away.rename(root)


async def test_nothing_is_changed_on_a_root_that_came_over_it(
    hosts: tuple[Engine, Engine],
) -> None:
    """There, what bears our number is another host."""
    a, _ = hosts
    await a.volumes.create("db", IMAGE)
    assert a.sharing
    claiming = a.sharing._claiming
    claim = claiming.use("db", Mode.ONE)
    root = a.store.root
    away = root.rename(root.with_name("away"))
    shutil.copytree(away, root)
    await a.sharing.tidy()
    assert claims.read(a.store.home("db")) == claim
    shutil.rmtree(root)
    away.rename(root)
    a.store.presence.back()
    await a.sharing.tidy()
    assert claims.read(a.store.home("db")) != claim


async def test_what_is_replaced_stays_with_who_replaces_it(hosts: tuple[Engine, Engine]) -> None:
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await a.snapshot("etc", "before")
    await a.settled()
    await seen(b)
    gate = a.kernel.gate("copy", "etc")
    rollback = asyncio.create_task(a.snapshots.rollback("etc", "before", Progress()))
    await asyncio.to_thread(gate.wait_for_call)
    with pytest.raises(VolumeElsewhere, match="host-1"):
        await b.uses.mount("etc", "n", "e")
    gate.open()
    await rollback
    await a.settled()
    await b.uses.mount("etc", "n", "e")


async def test_a_snapshot_that_another_host_uses_is_not_deleted(
    hosts: tuple[Engine, Engine],
) -> None:
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await a.snapshot("etc", "nightly")
    await a.settled()
    await b.uses.mount("etc@nightly", "n", "e")
    with pytest.raises(VolumeElsewhere, match="host-2"):
        await a.snapshots.delete("etc@nightly")
    await b.uses.unmount("etc@nightly", "n")
    await a.snapshots.delete("etc@nightly")


async def test_what_an_earlier_life_had_is_let_go_of(hosts: tuple[Engine, Engine]) -> None:
    a, b = hosts
    for name, options in (("db", IMAGE), ("etc", FOLDER)):
        await a.volumes.create(name, options)
        await a.uses.mount(name, "m", "e")
    a.kernel.mounted.clear()
    a._member = Member(1, 1)
    a = a.restarted(boot="next boot")
    assert a.sharing
    await a.sharing.begin(a.entries.volumes)
    await seen(b)
    await b.uses.mount("db", "n", "e")
    await b.volumes.remove("etc")


async def test_what_is_found_mounted_is_claimed(hosts: tuple[Engine, Engine]) -> None:
    """Also where the note of which life it was is lost."""
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await a.uses.mount("etc", "m", "e")
    a._member = Member(1, 1)
    a = a.restarted()
    b.kernel.over.add(Member(1, 0))
    assert a.sharing
    await a.sharing.begin(a.entries.volumes)
    assert not a.sharing.is_idle
    await seen(b)
    with pytest.raises(VolumeElsewhere, match="host-1"):
        await b.volumes.remove("etc")


async def test_a_host_is_idle_only_once_it_knows_what_it_has(
    hosts: tuple[Engine, Engine],
) -> None:
    a, _ = hosts
    assert a.sharing
    assert not a.sharing.is_idle
    await a.sharing.begin(a.entries.volumes)
    assert a.sharing.is_idle


async def test_what_is_half_done_with_what_another_host_has_ends_nothing(
    hosts: tuple[Engine, Engine],
) -> None:
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    await seen(b)
    await a.uses.mount("db", "m", "e")
    await b.operations.put_right(b.entries.get("db"), lambda: pytest.fail("it is swept"))


async def test_a_schedule_is_followed_by_the_first_that_lives(
    hosts: tuple[Engine, Engine],
) -> None:
    a, b = hosts
    await a.volumes.create("etc", Options(schedule_snapshot="@hourly"))
    await a.uses.mount("etc", "m", "e")
    await b.uses.mount("etc", "n", "e")
    await seen(a, b)
    assert (a.entries.get("etc").leads, b.entries.get("etc").leads) == (True, False)
    b.kernel.over.add(Member(1, 0))
    await seen(b)
    assert b.entries.get("etc").leads
    await b.uses.unmount("etc", "n")
    await a.uses.unmount("etc", "m")  # it was the last to have it, and is dead
    await seen(b)
    assert b.entries.get("etc").leads


async def test_what_cannot_be_shared_is_refused(hosts: tuple[Engine, Engine]) -> None:
    a, _ = hosts
    await a.volumes.create("db", IMAGE)
    for options in (Options(fs=Filesystem.BTRFS), Options(source="db", per_mount=True)):
        with pytest.raises(Unsupported, match="not for a shared root"):
            await a.volumes.create("other", options)


async def test_what_is_lost_is_ended_once_and_again_only_where_that_failed(
    hosts: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each beat of a host that was fenced asks for it, and a device that hangs keeps a thread."""
    a, _ = hosts
    await a.volumes.create("db", IMAGE)
    await a.uses.mount("db", "m", "e")
    assert a.sharing
    claiming, calls, answers = a.sharing._claiming, Queue[Path](), Queue[Exception | None]()

    def hanging(folder: Path) -> None:
        calls.put(folder)
        if failure := answers.get():
            raise failure

    monkeypatch.setattr(shutdown, "shut_down", hanging)
    claiming.lost()
    assert calls.get(timeout=60) == a.mountpoint("db")
    claiming.lost()
    assert calls.empty()
    answers.put(OSError(errno.EIO, "it failed"))
    while calls.empty():  # once it is known to have failed
        claiming.lost()
    answers.put(None)


async def test_the_trash_gives_back_on_either_host(hosts: tuple[Engine, Engine]) -> None:
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    a.write("db", "precious")
    await a.volumes.remove("db")
    await seen(b)
    assert names(b) == []
    await b.trash.restore("db")
    assert b.read("db") == "precious"
    await seen(a)
    assert (names(a), a.trash.views()) == (["db"], [])
    await a.uses.mount("db", "m", "e")
