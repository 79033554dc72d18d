"""The admin API's routes about volumes as a whole."""

import asyncio
import logging

import pytest

from convoy_py.api import volumes
from convoy_py.api.admin import Admin
from convoy_py.api.rest import Call
from convoy_py.config import Configuration
from convoy_py.engine.memory.references import OPERATOR
from convoy_py.errors import Kind, StillRunning
from convoy_py.linux.outside import Outside
from convoy_py.metrics import Metrics
from convoy_py.models.volume import Options, Spec
from convoy_py.wire.base import Nothing
from convoy_py.wire.volumes import VolumeInfo, VolumeList
from tests.fakes import NOW, FakeVerbs, FakeVolumes
from tests.unit.api.rest import ask, assert_failed
from tests.unit.api.wire import Socket


async def test_a_volume_lives_through_the_api(admin: Socket, engine: FakeVolumes) -> None:
    """Create, inspect, list, mount, umount, delete, with the statuses that REST clients expect."""
    wanted = {"Name": "db", "Options": {"size": "1G"}}
    created = await ask(admin, "POST", "/v1/volumes", wanted)
    assert created.status == 201
    info = VolumeInfo.model_validate_json(created.body)
    assert (info.name, info.driver, info.state) == ("db", "loopback", "ready")
    assert info.created_time == "2026-01-02T03:04:05Z"
    assert info.driver_info == {
        "Driver": "loopback",
        "Filesystem": "ext4",
        "MountPoint": "",
        "Size": str(2**30),
        "VolumeCreatedAt": "2026-01-02T03:04:05Z",
        "VolumeName": "db",
    }
    assert engine.asked["db"] == Options(size=2**30)
    mounted = await ask(admin, "POST", "/v1/volumes/db/mount", {"Reference": "backup"})
    assert (mounted.status, mounted.json) == (200, {"MountPoint": "/run/convoy/mounts/db/data"})
    assert engine.holds == [("db", "backup", OPERATOR)]
    inspected = await ask(admin, "GET", "/v1/volumes/db")
    assert inspected.json["References"] == 1
    listed = await ask(admin, "GET", "/v1/volumes")
    assert VolumeList.model_validate_json(listed.body).volumes == {
        "db": VolumeInfo.model_validate_json(inspected.body)
    }
    ended = await ask(admin, "POST", "/v1/volumes/db/umount", {"Reference": "backup"})
    assert (ended.status, ended.body) == (204, b"")
    assert engine.holds == []
    assert engine.released == [("db", "backup", OPERATOR)]
    deleted = await ask(admin, "DELETE", "/v1/volumes/db")
    assert (deleted.status, deleted.body) == (204, b"")
    assert engine.known == {}


async def test_create_makes_up_a_name(admin: Socket, engine: FakeVolumes) -> None:
    """A request without a name, or without a body, gets a volume with a name of its own."""
    first = await ask(admin, "POST", "/v1/volumes")
    second = await ask(admin, "POST", "/v1/volumes", {})
    assert first.json["Name"] != second.json["Name"]
    assert set(engine.known) == {first.json["Name"], second.json["Name"]}


async def test_a_name_that_was_made_up_is_in_the_audit_log(
    admin: Socket, engine: FakeVolumes, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise nobody could tell whose volume it is."""
    caplog.set_level(logging.INFO, "convoy")
    name = (await ask(admin, "POST", "/v1/volumes")).json["Name"]
    assert [vars(r)["convoy_fields"]["volume"] for r in caplog.records] == [name]


async def test_adopt_and_reference_reach_the_engine(admin: Socket, engine: FakeVolumes) -> None:
    """Data that was kept can be taken over again."""
    await ask(admin, "POST", "/v1/volumes", {"Name": "db", "Adopt": True})
    assert engine.adopted == ["db"]
    await ask(admin, "DELETE", "/v1/volumes/db?reference=true")
    assert engine.data_kept == ["db"]
    await ask(admin, "POST", "/v1/volumes", {"Name": "db"})
    await ask(admin, "DELETE", "/v1/volumes/db?reference=false")
    assert engine.data_kept == ["db"]


@pytest.mark.parametrize(
    ("method", "suffix"),
    [("GET", ""), ("DELETE", ""), ("POST", "/mount"), ("POST", "/umount")],
)
async def test_an_unknown_volume_is_404(
    admin: Socket, engine: FakeVolumes, method: str, suffix: str
) -> None:
    """A person who mistypes a name is told so, by umount too."""
    answer = await ask(admin, method, f"/v1/volumes/nosuch{suffix}")
    assert_failed(answer, 404, Kind.NOT_FOUND, "no such volume: nosuch")


async def test_umount_leaves_a_containers_hold_alone(admin: Socket, engine: FakeVolumes) -> None:
    """An operator who names an ID of Docker's ends nothing."""
    engine.add("db")
    await engine.mount("db", "f00d", "1:2")
    answer = await ask(admin, "POST", "/v1/volumes/db/umount", {"Reference": "f00d"})
    assert answer.status == 204
    assert engine.holds == [("db", "f00d", "1:2")]


async def test_a_volume_tells_where_its_data_lies(admin: Socket, engine: FakeVolumes) -> None:
    """Convoy's Path: the home folder, or the folder that the user chose."""
    engine.add("db")
    engine.known["db"] = engine.known["db"].model_copy(update={"home": "/srv/volumes/db"})
    info = (await ask(admin, "GET", "/v1/volumes/db")).json
    assert info["DriverInfo"]["Path"] == "/srv/volumes/db"
    engine.add("own", spec=Spec(backend="directory", path="/data/own"))
    info = (await ask(admin, "GET", "/v1/volumes/own")).json
    assert info["DriverInfo"]["Path"] == "/data/own"


async def test_a_name_that_was_made_up_is_told_while_the_work_goes_on(
    admin: Socket, engine: FakeVolumes
) -> None:
    """The same command without it would make another volume."""
    asked: list[str] = []

    async def create(
        name: str,
        options: Options,
        *,
        adopt: bool = False,
        patience: float = 0.0,
        by_engine: bool = False,
    ) -> None:
        asked.append(name)
        raise StillRunning(name, "create", 25.0)

    engine.create = create  # type: ignore[method-assign] # as slow as no test can wait for
    answer = await ask(admin, "POST", "/v1/volumes", {})
    (name,) = asked
    told = f"volume {name}: create is still running after 25 s and goes on; the name was made up: "
    assert_failed(answer, 503, Kind.UNAVAILABLE, told)
    assert answer.json["Error"].endswith(f"with {name} to join it, as in `convoy create {name}`")
    answer = await ask(admin, "POST", "/v1/volumes", {"Name": name})
    assert_failed(answer, 503, Kind.UNAVAILABLE, "goes on; repeat the command to join it")
    assert asked == [name, name]


async def test_a_long_list_lets_docker_in(
    engine: FakeVolumes, verbs: FakeVerbs, metrics: Metrics, configuration: Configuration
) -> None:
    """The list is made in batches, between which the loop serves others."""
    for number in range(1000):
        engine.add(f"volume-{number}")
    admin = Admin(verbs, metrics, configuration, lambda: NOW, Outside())
    waiting = asyncio.create_task(volumes.list_(admin, Call("", Nothing())))
    turns = 0
    while not waiting.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 5
    assert isinstance(told := (await waiting).body, VolumeList)
    assert set(told.volumes) == set(engine.known)


async def test_a_volume_is_renamed(admin: Socket, engine: FakeVolumes) -> None:
    """What is answered bears the new name."""
    engine.add("db")
    answer = await ask(admin, "POST", "/v1/volumes/db/rename", {"Name": "store"})
    assert (answer.status, answer.json["Name"]) == (200, "store")
    assert set(engine.known) == {"store"}


async def test_a_volume_is_protected_and_released(admin: Socket, engine: FakeVolumes) -> None:
    """Without a word about it, on is meant."""
    engine.add("db")
    answer = await ask(admin, "POST", "/v1/volumes/db/protect")
    assert answer.json["Status"]["protected"] is True
    answer = await ask(admin, "POST", "/v1/volumes/db/protect", {"On": False})
    assert answer.json["Status"]["protected"] is False
