"""The admin API's routes about snapshots."""

import logging

import pytest

from convoy_py.errors import InUse, Kind
from convoy_py.models.snapshot import Plan, Way
from convoy_py.wire.snapshots import PlanInfo, RolledBack, SnapshotInfo, SnapshotList
from convoy_py.wire.volumes import VolumeInfo
from tests.fakes import FakeVerbs, FakeVolumes
from tests.unit.api.rest import ask, assert_failed
from tests.unit.api.wire import Socket


async def names(admin: Socket, target: str) -> list[str]:
    answer = await ask(admin, "GET", target)
    assert answer.status == 200
    return [each.full_name for each in SnapshotList.model_validate_json(answer.body).snapshots]


async def test_a_snapshot_lives_through_the_api(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    """Create, list, inspect, delete, each in its own volume."""
    engine.add("db")
    engine.add("web")
    engine.add_snapshot("web", "other")
    made = await ask(admin, "POST", "/v1/volumes/db/snapshots", {"Name": "nightly", "Pause": True})
    assert verbs.snapshots.asked == [(["db"], "nightly", True, "", "")]
    assert await names(admin, "/v1/volumes/db/snapshots") == ["db@nightly"]
    assert await names(admin, "/v1/snapshots") == ["db@nightly", "web@other"]
    inspected = await ask(admin, "GET", "/v1/volumes/db/snapshots/nightly")
    assert inspected.json == made.json["Result"]
    assert SnapshotInfo.model_validate_json(inspected.body) == SnapshotInfo(
        name="nightly",
        volume_name="db",
        full_name="db@nightly",
        created_time="2026-01-02T03:04:05Z",
        way="reflink",
        consistency="frozen",
        size=2**30,
        state="ready",
        driver_info={
            "Driver": "directory",
            "SnapshotName": "nightly",
            "SnapshotCreatedAt": "2026-01-02T03:04:05Z",
            "Size": str(2**30),
            "VolumeName": "db",
        },
    )
    deleted = await ask(admin, "DELETE", "/v1/volumes/db/snapshots/nightly")
    assert (deleted.status, deleted.body) == (204, b"")
    assert await names(admin, "/v1/snapshots") == ["web@other"]


async def test_without_a_name_one_is_made_up(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    """By the engine, which knows what names there are."""
    engine.add("db")
    answer = await ask(admin, "POST", "/v1/volumes/db/snapshots")
    assert answer.json["Result"]["FullName"] == "db@made-up"
    assert verbs.snapshots.asked == [(["db"], "", False, "", "")]


@pytest.mark.parametrize("name", ["db@nightly", "nightly", "db%40nightly"])
async def test_the_flat_paths_take_both_forms_of_a_name(
    admin: Socket, engine: FakeVolumes, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Convoy's snapshots had one name space; what was deleted is in the audit log in full."""
    caplog.set_level(logging.INFO, "convoy.audit")
    engine.add("db")
    engine.add_snapshot("db", "nightly")
    found = await ask(admin, "GET", f"/v1/snapshots/{name}")
    assert (found.status, found.json["FullName"]) == (200, "db@nightly")
    assert (await ask(admin, "DELETE", f"/v1/snapshots/{name}")).status == 204
    assert set(engine.known) == {"db"}
    (record,) = caplog.records
    assert record.getMessage() == "snapshot_delete"
    assert vars(record)["convoy_fields"]["volume"] == "db@nightly"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "target", ["snapshots/nosuch", "snapshots/db@nosuch", "volumes/db/snapshots/nosuch"]
)
async def test_an_unknown_snapshot_is_404(
    admin: Socket, engine: FakeVolumes, method: str, target: str
) -> None:
    """By whichever way it was asked for."""
    engine.add("db")
    answer = await ask(admin, method, f"/v1/{target}")
    assert_failed(answer, 404, Kind.NOT_FOUND, "no such snapshot")
    assert not answer.json["Error"].startswith("volume")


async def test_a_snapshot_in_use_is_told_once(admin: Socket, engine: FakeVolumes) -> None:
    """The error has the full name already, whichever was asked for."""
    engine.add("db")
    engine.add_snapshot("db", "nightly")
    engine.failures["snapshot delete"] = InUse("volume db@nightly is in use by pid 42")
    for target in ("snapshots/nightly", "snapshots/db@nightly", "volumes/db/snapshots/nightly"):
        answer = await ask(admin, "DELETE", f"/v1/{target}")
        assert_failed(answer, 409, Kind.IN_USE)
        assert answer.json["Error"] == "volume db@nightly is in use by pid 42"


async def test_a_group_is_one_call(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs, caplog: pytest.LogCaptureFixture
) -> None:
    """Volumes by name, of a project, of a container; the audit log has what was named."""
    caplog.set_level(logging.INFO, "convoy.audit")
    engine.add("db")
    engine.add("uploads")
    answer = await ask(
        admin,
        "POST",
        "/v1/snapshots",
        {
            "Volumes": ["db", "uploads"],
            "ComposeProject": "shop",
            "Container": "web",
            "Name": "release-7",
            "Pause": True,
        },
    )
    assert verbs.snapshots.asked == [(["db", "uploads"], "release-7", True, "shop", "web")]
    assert answer.json["Volume"] == "db,uploads,shop,web"
    taken = SnapshotList.model_validate(answer.json["Result"]).snapshots
    assert [each.full_name for each in taken] == ["db@release-7", "uploads@release-7"]
    (record,) = caplog.records
    assert vars(record)["convoy_fields"]["volume"] == "db,uploads,shop,web"


async def test_a_member_that_is_unknown_fails_the_group(admin: Socket, engine: FakeVolumes) -> None:
    """The error names it, and not the others."""
    engine.add("db")
    answer = await ask(admin, "POST", "/v1/snapshots", {"Volumes": ["db", "nosuch"]})
    assert_failed(answer, 404, Kind.NOT_FOUND)
    assert answer.json["Error"] == "no such volume: nosuch"


async def test_the_plan_says_how_it_would_go(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    """Which way, how long roughly, and how to get the fast one."""
    engine.add("db")
    verbs.snapshots.planned = Plan(
        way=Way.COPY, instant=False, bytes=100, seconds=2.5, freezes=True, hint="use xfs"
    )
    answer = await ask(admin, "GET", "/v1/volumes/db/plan")
    assert PlanInfo.model_validate_json(answer.body) == PlanInfo(
        way="copy", instant=False, bytes=100, seconds=2.5, freezes=True, hint="use xfs"
    )


async def test_a_rollback_says_how_to_undo_it(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    """What was there before is a snapshot; the containers that were stopped are named."""
    engine.add("db")
    engine.add_snapshot("db", "nightly")
    asked = {"Snapshot": "nightly", "StopContainers": True}
    answer = await ask(admin, "POST", "/v1/volumes/db/rollback", asked)
    assert verbs.snapshots.asked == [("db", "nightly", True, True)]
    assert RolledBack.model_validate(answer.json["Result"]) == RolledBack(
        snapshot="db@nightly", saved_as="db@before", stopped=["container 0123 (web)"]
    )


async def test_a_rollback_may_keep_nothing(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    """Then there is no snapshot to be told."""
    engine.add("db")
    engine.add_snapshot("db", "nightly")
    asked = {"Snapshot": "nightly", "Keep": False}
    answer = await ask(admin, "POST", "/v1/volumes/db/rollback", asked)
    assert verbs.snapshots.asked == [("db", "nightly", False, False)]
    assert answer.json["Result"]["SavedAs"] == ""


async def test_a_volume_tells_its_snapshots(admin: Socket, engine: FakeVolumes) -> None:
    """Convoy's map, by the name within the volume; its states are those of volumes."""
    engine.add("db")
    engine.add_snapshot("db", "fine")
    lost = engine.add_snapshot("db", "lost").model_copy(
        update={"reason": "no image", "way": None, "consistency": None, "created": None}
    )
    shown = engine.add_snapshot("db", "shown").model_copy(
        update={"mountpoint": "/m", "references": 1}
    )
    fine = engine.known["db"].snapshots[0]
    changed = {"snapshots": (fine, lost, shown)}
    engine.known["db"] = engine.known["db"].model_copy(update=changed)
    answer = await ask(admin, "GET", "/v1/volumes/db")
    told = VolumeInfo.model_validate_json(answer.body).snapshots
    assert {name: each.state for name, each in told.items()} == {
        "fine": "ready",
        "lost": "broken",
        "shown": "mounted",
    }
    assert (told["lost"].way, told["lost"].created_time) == ("", "")
    assert (told["lost"].reason, told["shown"].references) == ("no image", 1)
    assert answer.json["Status"]["snapshots"] == 3


async def test_a_snapshot_is_mounted_as_a_volume(admin: Socket, engine: FakeVolumes) -> None:
    """By its full name; it is inspected as a volume too, and is in no list of volumes."""
    engine.add("db")
    engine.add_snapshot("db", "nightly")
    mounted = await ask(admin, "POST", "/v1/volumes/db@nightly/mount", {"Reference": "look"})
    assert mounted.json == {"MountPoint": "/run/convoy/mounts/db@nightly/data"}
    inspected = await ask(admin, "GET", "/v1/volumes/db@nightly")
    assert (inspected.json["Name"], inspected.json["State"]) == ("db@nightly", "mounted")
    assert set((await ask(admin, "GET", "/v1/volumes")).json["Volumes"]) == {"db"}
    ended = await ask(admin, "POST", "/v1/volumes/db@nightly/umount", {"Reference": "look"})
    assert ended.status == 204
    assert engine.holds == []
