"""The volume API as the engines see it: what each call does, and what it answers."""

import asyncio
from pathlib import PurePosixPath

import pytest

from convoy_py.api.status import status, volume_info
from convoy_py.linux.outside import Outside
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.options import help_line
from convoy_py.models.volume import Options, Spec, State, Usage, View
from tests.fakes import NOW, FakeVolumes
from tests.unit.api.volume_api import ALL, assert_failed, message
from tests.unit.api.wire import Socket


async def test_a_volume_lives_through_the_whole_protocol(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """Docker's usual sequence of calls gets the bodies that Docker expects."""
    told = {
        "Activate": {"Implements": ["VolumeDriver"]},
        "Capabilities": {"Capabilities": {"Scope": "local"}},
        "Create": {"Err": ""},
        "Mount": {"Mountpoint": "/run/convoy/mounts/db/data", "Err": ""},
        "Path": {"Mountpoint": "/run/convoy/mounts/db/data", "Err": ""},
        "List": {
            "Volumes": [{"Name": "db", "Mountpoint": "/run/convoy/mounts/db/data"}],
            "Err": "",
        },
        "Unmount": {"Err": ""},
        "Remove": {"Err": ""},
    }
    for call, body in told.items():
        answer = await plugin.call(call, message(call))
        assert (answer.status, answer.json) == (200, body), call
    assert engine.known == {}


async def test_get_tells_all_that_is_known(plugin: Socket, engine: FakeVolumes) -> None:
    """Name, mountpoint, an RFC 3339 time, and a Status with the sizes and their age."""
    spec = Spec(
        backend="loopback", size=2**60, fs=Filesystem.XFS, sparse=True, mode=0o750, inodes=2**31
    )
    usage = Usage(
        size=2**60,
        used=5,
        available=2**54,
        allocated=4096,
        inodes=2**31,
        inodes_used=7,
        inodes_available=2**31 - 7,
        sampled=NOW - 3,
    )
    engine.add("db", spec=spec, usage=usage)
    answer = await plugin.call("Get", {"Name": "db"})
    assert answer.status == 200
    assert answer.json["Err"] == ""
    volume = answer.json["Volume"]
    assert volume["Name"] == "db"
    assert volume["Mountpoint"] == ""
    assert volume["CreatedAt"] == "2026-01-02T03:04:05Z"
    assert volume["Status"] == {
        "backend": "loopback",
        "filesystem": "xfs",
        "data": "in an image: `convoy mount db` shows it",
        "size": str(2**60),  # float64 would not hold it in general
        "used": 5,
        "available": str(2**54),
        "allocated": 4096,
        "inodes": 2**31,
        "inodesUsed": 7,
        "inodesAvailable": 2**31 - 7,
        "usageAge": 10,
        "references": 0,
        "state": "ready",
        "snapshots": 0,
        "protected": False,
        "options": {
            "backend": "loopback",
            "size": "1024PiB",
            "fs": "xfs",
            "sparse": "true",
            "mode": "0750",
            "inodes": str(2**31),
        },
    }


async def test_status_tells_where_the_data_lies(plugin: Socket, engine: FakeVolumes) -> None:
    """Mountpoint is empty while nobody has mounted it, and an empty one and a `/` is the root."""
    folder = "/var/lib/convoy/volumes/db/data"
    engine.add("db", spec=Spec(backend="directory"))
    engine.known["db"] = engine.known["db"].model_copy(update={"data": folder})
    told = (await plugin.call("Get", {"Name": "db"})).json["Volume"]
    assert (told["Mountpoint"], told["Status"]["data"]) == ("", folder)


def test_status_tells_it_as_the_host_has_it() -> None:
    """A managed plugin sees the host's folders elsewhere, and where it mounts them is its own."""
    view = View(
        name="db",
        state=State.MOUNTED,
        backend="loopback",
        created=None,
        mountpoint="/mnt/volumes/db/data",
        home="/var/lib/convoy/volumes/db",
        data="/mnt/volumes/db/data",
        references=1,
        spec=Spec(backend="loopback"),
        usage=None,
    )
    pairs = [("/mnt/volumes", "/srv/docker/p/volumes"), ("/var/lib", "/srv/state")]
    outside = Outside(tuple((PurePosixPath(here), PurePosixPath(there)) for here, there in pairs))
    assert status(view, 0.0, outside)["data"] == "/srv/docker/p/volumes/db/data"
    info = volume_info(view, 0.0, outside)
    assert info.mount_point == info.driver_info["MountPoint"] == "/srv/docker/p/volumes/db/data"
    assert info.driver_info["Path"] == "/srv/state/convoy/volumes/db"
    assert outside.path("/var/library") == "/var/library"
    assert outside.path("") == ""


async def test_get_of_a_broken_volume_succeeds_and_says_why(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """An engine forgets a volume whose Get fails, so a broken one is told in its Status."""
    engine.add("db")
    engine.break_("db", "volume.json: not JSON")
    answer = await plugin.call("Get", {"Name": "db"})
    assert answer.status == 200
    assert answer.json["Volume"]["CreatedAt"] is None
    status = answer.json["Volume"]["Status"]
    assert (status["state"], status["reason"]) == ("broken", "volume.json: not JSON")


@pytest.mark.parametrize(
    "name", ["nosuch", "../../etc", "/abs", "a/b", "", ".", "Ünïcode", "a\nb", "\0", "x" * 300]
)
async def test_get_of_what_is_no_volume_says_so(
    plugin: Socket, engine: FakeVolumes, name: str
) -> None:
    """Each `docker run -v NAME:/x` asks every plugin: the answer is the same for odd names."""
    assert_failed(await plugin.call("Get", {"Name": name}), "no such volume")


@pytest.mark.parametrize("name", ["../x", "", "a/b", "-dash", "with space", "a\n", "x" * 129])
async def test_create_refuses_a_bad_name(plugin: Socket, engine: FakeVolumes, name: str) -> None:
    """Such a volume could neither be inspected nor removed by Docker again."""
    assert_failed(await plugin.call("Create", message("Create", name)), "invalid volume name")
    assert engine.known == {}


async def test_wrong_options_are_refused_with_what_is_allowed(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """A user learns from `docker volume create` itself what may be written."""
    answer = await plugin.call("Create", {"Name": "db", "Opts": {"sise": "1G"}})
    assert_failed(answer, "volume db: ", "'sise'", "size, fs")
    answer = await plugin.call("Create", {"Name": "db", "Opts": {"help": ""}})
    assert answer.json == {"Err": help_line()}
    assert engine.known == {}


async def test_create_with_other_options_names_them(plugin: Socket, engine: FakeVolumes) -> None:
    """The same again is fine; something else is told."""
    await plugin.call("Create", {"Name": "db", "Opts": {"size": "1G"}})
    assert (await plugin.call("Create", {"Name": "db", "Opts": {"size": "1G"}})).status == 200
    answer = await plugin.call("Create", {"Name": "db", "Opts": {"size": "2G"}})
    assert_failed(answer, "size is 1GiB, asked 2GiB")


@pytest.mark.parametrize("option", ["schedule.before", "schedule.after"])
async def test_commands_in_containers_are_not_dockers_to_ask_for(
    plugin: Socket, engine: FakeVolumes, option: str
) -> None:
    """Whoever may only make volumes would run them in any container."""
    options = {"schedule.snapshot": "@daily", option: "other: id"}
    answer = await plugin.call("Create", {"Name": "db", "Opts": options})
    assert_failed(answer, "schedule.before", "`convoy schedule set`", "label")
    assert engine.known == {}


async def test_what_an_engine_makes_is_made_as_its(plugin: Socket, engine: FakeVolumes) -> None:
    """Of its users' choices some are not taken."""
    await plugin.call("Create", {"Name": "db", "Opts": {}})
    assert engine.made_by_engine == {"db"}


@pytest.mark.parametrize("call", ["Remove", "Unmount"])
async def test_ending_what_is_not_there_succeeds(
    plugin: Socket, engine: FakeVolumes, call: str
) -> None:
    """Engines repeat these calls; the second is done already."""
    assert (await plugin.call(call, message(call, "nosuch"))).json == {"Err": ""}


@pytest.mark.parametrize("call", [c for c in ALL if c not in {"Activate", "Capabilities"}])
async def test_calls_wait_until_the_records_are_read(
    plugin: Socket, engine: FakeVolumes, call: str
) -> None:
    """A "not found" from a daemon that is still reading would make Docker forget its volumes."""
    engine.opened.clear()
    waiting = asyncio.create_task(plugin.call(call, message(call)))
    assert (await plugin.call("Capabilities")).status == 200
    assert (await plugin.call("Activate")).status == 200
    assert not waiting.done()
    engine.add("db")
    engine.asked["db"] = Options()
    engine.opened.set()
    assert (await waiting).status == 200


async def test_list_of_ten_thousand_is_whole(plugin: Socket, engine: FakeVolumes) -> None:
    """A null among the volumes would crash dockerd."""
    names = {f"volume-{number}" for number in range(10_000)}
    for name in names:
        engine.add(name)
    volumes = (await plugin.call("List")).json["Volumes"]
    assert {volume["Name"] for volume in volumes} == names
    assert all(volume["Mountpoint"] == "" for volume in volumes)
