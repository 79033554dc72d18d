"""The admin API's routes about the data in volumes."""

import pytest

from convoy_py.engine.verbs.copies import Differences
from convoy_py.errors import Kind, Unavailable
from convoy_py.linux.trees import Change
from convoy_py.models.volume import Options
from convoy_py.wire import copies as wire
from convoy_py.wire.volumes import VolumeInfo
from tests.fakes import FakeVerbs, FakeVolumes
from tests.unit.api.rest import ask, assert_failed
from tests.unit.api.wire import Socket


@pytest.mark.parametrize(("snapshot", "source"), [("", "db"), ("golden", "db@golden")])
async def test_a_clone_of_a_volume_or_a_snapshot(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs, snapshot: str, source: str
) -> None:
    """The job is the new volume's."""
    engine.add("db")
    engine.add_snapshot("db", "golden")
    asked = {"Name": "copy", "Snapshot": snapshot, "Options": {"size": "2G"}}
    answer = await ask(admin, "POST", "/v1/volumes/db/clone", asked)
    assert verbs.copies.asked == [(source, "copy", Options(size=2 * 2**30))]
    assert (answer.status, answer.json["Volume"]) == (200, "copy")
    assert VolumeInfo.model_validate(answer.json["Result"]).name == "copy"


@pytest.mark.parametrize(("query", "to"), [("from=a", ""), ("from=a&to=b", "b")])
async def test_what_differs_is_told(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs, query: str, to: str
) -> None:
    """Between two snapshots, or between one and the volume as it is now."""
    engine.add("db")
    engine.add_snapshot("db", "a")
    verbs.copies.differences = Differences(
        added=1,
        changed=2,
        bytes=30,
        changes=[Change("changed", "etc/conf", 5, ("content", "mode"))],
        truncated=True,
    )
    answer = await ask(admin, "GET", f"/v1/volumes/db/diff?{query}")
    assert verbs.copies.asked == [("db", "a", to)]
    assert wire.Difference.model_validate(answer.json["Result"]) == wire.Difference(
        added=1,
        changed=2,
        removed=0,
        bytes=30,
        changes=[
            wire.ChangeInfo(kind="changed", path="etc/conf", size=5, what=["content", "mode"])
        ],
        truncated=True,
    )


async def test_an_answer_that_cannot_be_written_is_a_failure_in_json(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    """Like any other fault of ours, and not aiohttp's own page."""
    engine.add("db")
    engine.add_snapshot("db", "a")
    verbs.copies.differences = Differences(changes=[Change("added", "x", 1, ("\udce9",))])
    answer = await ask(admin, "GET", "/v1/volumes/db/diff?from=a")
    assert_failed(answer, 500, Kind.FAILED, "db: internal error")


async def test_a_file_is_restored(admin: Socket, engine: FakeVolumes, verbs: FakeVerbs) -> None:
    """The path is the engine's to understand."""
    engine.add("db")
    engine.add_snapshot("db", "a")
    asked = {"Snapshot": "a", "Path": "/etc/conf"}
    answer = await ask(admin, "POST", "/v1/volumes/db/restore-file", asked)
    assert verbs.copies.asked == [("db", "a", "/etc/conf")]
    assert answer.json["Result"] == {"Path": "/etc/conf", "Bytes": 42}
    asked["Snapshot"] = "nosuch"
    answer = await ask(admin, "POST", "/v1/volumes/db/restore-file", asked)
    assert_failed(answer, 404, Kind.NOT_FOUND, "no such snapshot: db@nosuch")


async def test_a_file_is_restored_from_a_backup(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    engine.add("db")
    asked = {"Backup": "latest", "Repository": "offsite", "Path": "conf"}
    answer = await ask(admin, "POST", "/v1/volumes/db/restore-file", asked)
    assert verbs.copies.asked == [("db", "latest", "offsite", "conf")]
    assert answer.json["Result"] == {"Path": "conf", "Bytes": 43}
    for wrong in ({"Path": "conf"}, {**asked, "Snapshot": "a"}):
        answer = await ask(admin, "POST", "/v1/volumes/db/restore-file", wrong)
        assert_failed(answer, 400, Kind.INVALID, "db: give either Snapshot or Backup")


async def test_a_volume_is_converted(admin: Socket, engine: FakeVolumes, verbs: FakeVerbs) -> None:
    """Options are those of a create."""
    engine.add("db")
    asked = {"Options": {"backend": "loop", "size": "20G"}}
    answer = await ask(admin, "POST", "/v1/volumes/db/convert", asked)
    assert verbs.copies.asked == [("db", Options(backend="loopback", size=20 * 2**30))]
    assert VolumeInfo.model_validate(answer.json["Result"]).name == "db"


async def test_one_of_dockers_volumes_is_adopted(admin: Socket, verbs: FakeVerbs) -> None:
    """Under another name, with options; a dry run says that it was one."""
    verbs.adoptions.adoptable = [
        wire.AdoptedVolume(docker_volume="pg", name="db", bytes=10, files=2, note="stop web first")
    ]
    asked = {
        "DockerVolume": "pg",
        "Name": "db",
        "Options": {"size": "1G"},
        "DryRun": True,
        "StopContainers": True,
    }
    answer = await ask(admin, "POST", "/v1/adopt", asked)
    assert verbs.adoptions.asked == [("pg", "", "db", Options(size=2**30), True, True)]
    assert answer.json["Volume"] == "pg"
    assert answer.json["Result"] == {
        "Volumes": [
            {"DockerVolume": "pg", "Name": "db", "Bytes": 10, "Files": 2, "Note": "stop web first"}
        ],
        "DryRun": True,
    }


async def test_a_project_is_adopted(admin: Socket, verbs: FakeVerbs) -> None:
    """All its volumes keep their names."""
    answer = await ask(admin, "POST", "/v1/adopt", {"ComposeProject": "shop"})
    assert verbs.adoptions.asked == [("", "shop", "", Options(), False, False)]
    assert answer.json["Volume"] == "shop"
    assert answer.json["Result"] == {"Volumes": [], "DryRun": False}


async def test_a_volume_is_released(admin: Socket, verbs: FakeVerbs) -> None:
    """Under another name; a dry run says that it was one."""
    verbs.releases.released = [
        wire.ReleasedVolume(name="db", docker_volume="pg", bytes=10, files=2, note="stop web first")
    ]
    asked = {"Name": "db", "DockerVolume": "pg", "DryRun": True}
    answer = await ask(admin, "POST", "/v1/release", asked)
    assert verbs.releases.asked == [("db", "", "pg", True)]
    assert answer.json["Volume"] == "db"
    assert answer.json["Result"] == {
        "Volumes": [
            {"Name": "db", "DockerVolume": "pg", "Bytes": 10, "Files": 2, "Note": "stop web first"}
        ],
        "DryRun": True,
    }


async def test_a_project_is_released(admin: Socket, verbs: FakeVerbs) -> None:
    """All its volumes keep their names."""
    answer = await ask(admin, "POST", "/v1/release", {"ComposeProject": "shop"})
    assert verbs.releases.asked == [("", "shop", "", False)]
    assert answer.json["Volume"] == "shop"
    assert answer.json["Result"] == {"Volumes": [], "DryRun": False}


async def test_what_fails_of_a_project_names_the_project(admin: Socket, verbs: FakeVerbs) -> None:
    """It is no volume."""
    verbs.releases.failure = Unavailable("no Docker Engine answers")
    answer = await ask(admin, "POST", "/v1/release", {"ComposeProject": "shop"})
    assert_failed(answer, 503, Kind.UNAVAILABLE)
    assert answer.json["Error"] == "compose project shop: no Docker Engine answers"
