"""The admin API's routes about the daemon."""

import os

from convoy_py.models.volume import Usage
from convoy_py.settings import Settings
from convoy_py.wire.daemon import Info
from tests.fakes import FakeVerbs, FakeVolumes
from tests.unit.api.rest import ask
from tests.unit.api.wire import Socket


async def test_info_shows_every_setting_and_its_source(admin: Socket, engine: FakeVolumes) -> None:
    """Convoy's General object, the host's space, the options, and what the backends can do."""
    engine.add("db")
    engine.data_kept = ["old"]
    answer = await ask(admin, "GET", "/v1/info")
    info = Info.model_validate_json(answer.body)
    assert set(info.settings) == set(Settings.model_fields)
    assert info.settings["root"].model_dump() == {"value": "/srv/volumes", "source": "flag"}
    assert info.settings["log_level"].source == "default"
    assert info.general.root == "/srv/volumes"
    assert (info.general.driver_list, info.general.default_driver) == (
        ["directory", "loopback"],
        "directory",
    )
    assert (info.general.volumes, info.general.broken, info.general.kept) == (1, 0, ["old"])
    assert (info.general.pid, info.general.health) == (os.getpid(), "ok")
    assert (info.space.size, info.space.promised, info.space.may_promise) == (100, 30, 90)
    assert {row.key for row in info.options} >= {"size", "backend"}
    assert set(info.drivers) == {"directory", "loopback"}
    where = {"Root": "/srv/volumes", "Path": "/srv/volumes/volumes"}
    assert answer.json["vfs"] == where | {"DefaultVolumeSize": "0"}
    loopback = {"DefaultVolumeSize": str(10 * 2**30), "Filesystem": "ext4"}
    assert answer.json["loopback"] == where | loopback


async def test_health_and_metrics_answer_before_the_records_are_read(
    admin: Socket, engine: FakeVolumes
) -> None:
    """Whoever watches the daemon is not to wait for it."""
    engine.opened.clear()
    assert (await ask(admin, "GET", "/healthz")).json == {
        "Healthy": True,
        "Problems": [],
        "Notes": [],
    }
    engine.problems = ["the root is read-only"]
    answer = await ask(admin, "GET", "/healthz")
    assert answer.status == 503
    assert answer.json == {
        "Healthy": False,
        "Problems": ["the root is read-only"],
        "Notes": [],
    }
    answer = await ask(admin, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert b"convoy_problems 1.0" in answer.body


async def test_metrics_tell_of_inodes(admin: Socket, engine: FakeVolumes) -> None:
    """By volume, where they are known; a volume that is gone is told no longer."""
    engine.add("db", usage=Usage(inodes_used=7, inodes_available=0, sampled=0))
    engine.add("dir", usage=Usage(inodes_available=1000, sampled=0))
    engine.add("new")
    found = (await ask(admin, "GET", "/metrics")).body.decode()
    assert [line for line in found.splitlines() if line.startswith("convoy_volume_inodes")] == [
        'convoy_volume_inodes_used{volume="db"} 7.0',
        'convoy_volume_inodes_available{volume="db"} 0.0',
        'convoy_volume_inodes_available{volume="dir"} 1000.0',
    ]
    engine.known.clear()
    assert b"convoy_volume_inodes_used{" not in (await ask(admin, "GET", "/metrics")).body


async def test_what_is_to_be_known_makes_nobody_ill(admin: Socket, verbs: FakeVerbs) -> None:
    """That a clock was set is told by info and health; the daemon serves as before."""
    verbs.trash.told = ["the wall clock went from 2020 to 2026"]
    answer = await ask(admin, "GET", "/healthz")
    assert (answer.status, answer.json["Healthy"]) == (200, True)
    assert answer.json["Notes"] == verbs.trash.told
    info = Info.model_validate_json((await ask(admin, "GET", "/v1/info")).body)
    assert (info.general.notes, info.general.health) == (verbs.trash.told, "ok")
