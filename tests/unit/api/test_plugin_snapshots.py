"""Snapshots through the volume API: mounted by their full names, never made or deleted by it."""

import pytest

from tests.fakes import FakeVolumes
from tests.unit.api.volume_api import ID, assert_failed, message
from tests.unit.api.wire import Socket

SNAPSHOT = "db@nightly"


@pytest.fixture(autouse=True)
def snapshot(engine: FakeVolumes) -> None:
    engine.add("db")
    engine.add_snapshot("db", "nightly")


async def test_a_snapshot_is_mounted_without_being_created(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """`docker run -v db@nightly:/data:ro` asks Get and then Mount."""
    path = f"/run/convoy/mounts/{SNAPSHOT}/data"
    found = await plugin.call("Get", message("Get", SNAPSHOT))
    assert (found.status, found.json["Volume"]["Name"]) == (200, SNAPSHOT)
    mounted = await plugin.call("Mount", message("Mount", SNAPSHOT))
    assert mounted.json == {"Mountpoint": path, "Err": ""}
    assert [hold[:2] for hold in engine.holds] == [(SNAPSHOT, ID)]
    shown = await plugin.call("Path", message("Path", SNAPSHOT))
    assert shown.json == {"Mountpoint": path, "Err": ""}
    ended = await plugin.call("Unmount", message("Unmount", SNAPSHOT))
    assert (ended.json, engine.holds) == ({"Err": ""}, [])


async def test_creating_one_that_exists_succeeds(plugin: Socket, engine: FakeVolumes) -> None:
    """`docker volume create -d convoy db@nightly` lets compose files name it as external."""
    assert (await plugin.call("Create", message("Create", SNAPSHOT))).json == {"Err": ""}
    assert set(engine.known) == {"db", SNAPSHOT}


@pytest.mark.parametrize("name", ["db@", "@nightly", "db@a@b", "db@../x", "db#0123", "db@a/b"])
async def test_create_refuses_what_is_no_snapshots_name(
    plugin: Socket, engine: FakeVolumes, name: str
) -> None:
    """Such a name reaches no folder."""
    assert_failed(await plugin.call("Create", message("Create", name)), "invalid volume name")
    assert set(engine.known) == {"db", SNAPSHOT}


async def test_remove_never_deletes_one(plugin: Socket, engine: FakeVolumes) -> None:
    """`docker compose down -v` takes what it mounted for its own."""
    answer = await plugin.call("Remove", message("Remove", SNAPSHOT))
    assert_failed(answer, f"`convoy snapshot delete {SNAPSHOT}`")
    assert answer.json["Err"].startswith(SNAPSHOT)
    assert set(engine.known) == {"db", SNAPSHOT}


async def test_private_clones_cannot_be_named(plugin: Socket, engine: FakeVolumes) -> None:
    """Else a Remove of one would take its volume away, and a Mount show another container's."""
    clone = "db#0123456789abcdef"
    engine.add(clone)
    for call in ("Get", "Path", "Mount"):
        assert_failed(await plugin.call(call, message(call, clone)), "no such volume")
    assert (await plugin.call("Remove", message("Remove", clone))).json == {"Err": ""}
    assert engine.holds == []
    assert set(engine.known) == {"db", SNAPSHOT, clone}


async def test_one_that_is_gone_is_forgotten(plugin: Socket) -> None:
    """Get says that there is none, and Remove succeeds, so that the engine drops its own record."""
    assert_failed(await plugin.call("Get", {"Name": "db@gone"}), "no such snapshot: db@gone")
    assert (await plugin.call("Remove", {"Name": "db@gone"})).json == {"Err": ""}


async def test_a_volumes_status_counts_them_and_list_leaves_them_out(plugin: Socket) -> None:
    """A snapshot is not offered as a volume."""
    found = await plugin.call("Get", {"Name": "db"})
    assert found.json["Volume"]["Status"]["snapshots"] == 1
    listed = await plugin.call("List")
    assert [volume["Name"] for volume in listed.json["Volumes"]] == ["db"]


async def test_status_tells_of_protection_and_of_long_work(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """Why a Remove would be refused can be seen beforehand."""
    changed = {"protected": True, "doing": "a clone of it is being made"}
    engine.known["db"] = engine.known["db"].model_copy(update=changed)
    status = (await plugin.call("Get", {"Name": "db"})).json["Volume"]["Status"]
    assert status["protected"] is True
    assert status["doing"] == "a clone of it is being made"
