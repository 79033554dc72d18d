"""The admin API's routes about space."""

from convoy_py.errors import Kind, Unsupported
from convoy_py.wire.space import SnapshotSpace, SpaceReport, VolumeSpace
from tests.fakes import FakeVerbs, FakeVolumes
from tests.unit.api.rest import ask, assert_failed
from tests.unit.api.wire import Socket


async def test_a_volume_grows(admin: Socket, engine: FakeVolumes, verbs: FakeVerbs) -> None:
    """The size is as people write it; why it has to wait is told."""
    engine.add("db")
    verbs.space.pending = "ext4 needs CAP_SYS_RESOURCE to grow while mounted"
    answer = await ask(admin, "POST", "/v1/volumes/db/resize", {"Size": "20G"})
    assert verbs.space.asked == [("db", 20 * 2**30, False)]
    assert answer.json["Result"] == {"Size": 20 * 2**30, "Pending": verbs.space.pending}


async def test_a_volume_grows_by_a_size(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    """With a plus sign it is so much more, whatever the volume has."""
    engine.add("db")
    await ask(admin, "POST", "/v1/volumes/db/resize", {"Size": "+10G"})
    assert verbs.space.asked == [("db", 10 * 2**30, True)]
    for wrong in ("+", "++1G", "+-1G", "-1G"):
        answer = await ask(admin, "POST", "/v1/volumes/db/resize", {"Size": wrong})
        assert_failed(answer, 400, Kind.INVALID, "+10G for so much more")


async def test_a_volume_does_not_shrink(admin: Socket, engine: FakeVolumes) -> None:
    """What the engine refuses is told like any failure."""
    engine.add("db")
    engine.failures["resize"] = Unsupported("volume db cannot shrink: clone it")
    answer = await ask(admin, "POST", "/v1/volumes/db/resize", {"Size": "1M"})
    assert_failed(answer, 422, Kind.UNSUPPORTED, "cannot shrink")


async def test_one_volume_is_trimmed(admin: Socket, engine: FakeVolumes) -> None:
    """The answer has the same form as that of all."""
    engine.add("db")
    answer = await ask(admin, "POST", "/v1/volumes/db/trim")
    assert answer.json["Result"] == {"Bytes": 4096, "Volumes": {"db": 4096}, "Skipped": {}}


async def test_all_volumes_are_trimmed(
    admin: Socket, engine: FakeVolumes, verbs: FakeVerbs
) -> None:
    """Those that were not are named, with the reason; one of them fails no others."""
    engine.add("db")
    engine.add("web")
    verbs.space.skipped = {"files": "a directory has nothing to trim"}
    answer = await ask(admin, "POST", "/v1/trim")
    assert (answer.json["Verb"], answer.json["Volume"]) == ("trim --all", "")
    assert answer.json["Result"] == {
        "Bytes": 8192,
        "Volumes": {"db": 4096, "web": 4096},
        "Skipped": {"files": "a directory has nothing to trim"},
    }


async def test_df_tells_where_the_bytes_are(admin: Socket, verbs: FakeVerbs) -> None:
    """By volume and snapshot, in the trash, on the host; what is not known is null."""
    verbs.space.found = [
        VolumeSpace(
            name="db",
            promised=100,
            used=40,
            allocated=60,
            shared=None,
            reclaimable=20,
            snapshots=[
                SnapshotSpace(name="nightly", frees=5),
                SnapshotSpace(name="lost", frees=None),
            ],
        )
    ]
    answer = await ask(admin, "GET", "/v1/df")
    report = SpaceReport.model_validate(answer.json["Result"])
    (volume,) = report.volumes
    assert (volume.promised, volume.used, volume.allocated) == (100, 40, 60)
    assert (volume.shared, volume.reclaimable) == (None, 20)
    assert [(each.name, each.frees) for each in volume.snapshots] == [
        ("nightly", 5),
        ("lost", None),
    ]
    assert (report.trash, report.host.size, report.host.free) == (77, 100, 60)
