"""Volumes that are images go into a repository as one file each, and come back checked."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import OperationFailed, Unsupported
from convoy_py.models.backup import BackupView
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.names import volume_of
from convoy_py.models.snapshot import Way
from convoy_py.models.volume import Options
from tests.fakes_engine import Engine, FakeBackend, FakeKernel

SIZE = 8192
EXT4 = Filesystem.EXT4


def filled(text: str) -> str:
    """As an image of the size has it."""
    return text.ljust(SIZE)


@pytest.fixture
async def images(backed: Engine) -> Engine:
    """An engine with a repository, and with a volume `img` that is an image."""
    await backed.volumes.create("img", Options(size=SIZE, fs=EXT4))
    backed.write("img", filled("one"))
    return backed


async def back_up(engine: Engine, *names: str, raw: bool = True) -> list[BackupView]:
    return await engine.backups.create(names or ["img"], "", Progress(), raw=raw)


async def restore(engine: Engine, name: str, **options: object) -> None:
    asked = Options.model_validate(options)
    await engine.restores.restore("img", "", name, asked, Progress())


async def test_an_image_comes_back_as_it_was(images: Engine) -> None:
    """It is told what it is, and is checked before it is a volume."""
    (backup,) = await back_up(images)
    assert (backup.raw, backup.files, backup.size > SIZE) == (True, 1, True)
    assert [view.raw for view in await images.backups.views("img", "", Progress())] == [True]
    images.write("img", filled("two"))
    await restore(images, "other")
    assert (images.read("other"), images.read("img")) == (filled("one"), filled("two"))
    assert images.kernel.count("take_image", "other") == 1
    view = images.volumes.get("other")
    assert view.spec
    assert (view.spec.fs, view.spec.size) == (EXT4, SIZE)
    assert images.left() == []


async def test_a_volume_goes_back_to_an_image(images: Engine) -> None:
    """What it had stays as a snapshot."""
    await back_up(images)
    images.write("img", filled("two"))
    await restore(images, "")
    assert images.read("img") == filled("one")
    (saved,) = images.snapshots.views("img")
    await images.snapshots.rollback("img", saved.name, Progress())
    assert images.read("img") == filled("two")
    assert images.left() == []


async def test_docker_makes_a_volume_of_an_image(images: Engine) -> None:
    (backup,) = await back_up(images)
    asked = Options(backup=backup.url, size=2 * SIZE)
    await images.volumes.create("larger", asked, patience=60)
    assert images.read("larger").startswith("one")
    with pytest.raises(Unsupported, match="--raw"):
        await images.volumes.create("small", Options(backup=backup.url, size=4096))
    assert "small" not in images.entries.volumes


@pytest.mark.parametrize(
    ("sources", "named"), [(["img", "db"], "db"), (["db@nightly"], "db"), ([], "db")]
)
async def test_what_is_no_image_is_named_before_anything_is_done(
    images: Engine, sources: Sequence[str], named: str
) -> None:
    await images.snapshot("db", "nightly")
    calls = len(images.kernel.calls)
    with pytest.raises(Unsupported, match=f"^{named}: only what is kept in an image"):
        await images.backups.create(sources, "", Progress(), everything=not sources, raw=True)
    assert images.kernel.calls[calls:] == []


@pytest.mark.parametrize("options", [{"fs": "xfs"}, {"size": 4096}])
async def test_an_image_becomes_nothing_else(images: Engine, options: dict[str, object]) -> None:
    """Which is told before anything is read, with what does."""
    await back_up(images)
    with pytest.raises(Unsupported, match=r"ext4 of 8KiB, and it does not suit: .*backup of files"):
        await restore(images, "other", **options)
    assert images.kernel.count("begin_image", "other") == 0


async def test_an_image_does_not_take_the_place_of_one_that_it_does_not_suit(
    images: Engine,
) -> None:
    await back_up(images)
    await images.volumes.remove("img")
    await images.volumes.create("img", Options(size=SIZE, fs=Filesystem.XFS))
    images.write("img", "another")
    with pytest.raises(Unsupported, match="under another name if need be"):
        await restore(images, "")
    assert images.read("img") == "another"
    assert images.left() == []


async def test_a_damaged_image_becomes_no_volume_and_is_not_proven(images: Engine) -> None:
    (good,) = await back_up(images)
    images.write("img", filled("damaged"))
    images.pass_time(1)
    (bad,) = await back_up(images)
    with pytest.raises(Exception, match="its image is damaged"):
        await restore(images, "other")
    assert "other" not in images.entries.volumes
    proven, problems = await images.proofs.prove([good.url, bad.url], "", Progress())
    assert [view.id for view in proven] == [good.id]
    assert len(problems) == 1
    assert "its image is damaged" in problems[0]
    assert images.left() == []


async def test_a_file_of_an_image_is_not_to_be_had_and_the_way_is_told(images: Engine) -> None:
    await back_up(images)
    with pytest.raises(Unsupported, match=r"under another name \(--as\), and take the file"):
        await images.copies.restore_file_of_backup("img", "latest", "", "file", Progress())


async def test_of_what_lies_in_its_volume_a_clone_is_backed_up(images: Engine) -> None:
    """Which goes again, and so does what would be of no use to the next; a backup of files keeps
    what it is compared with."""
    images.backend.way = Way.INSIDE
    await back_up(images, raw=False)
    before = set(images.entries.get("img").snapshots)
    images.pass_time(1)
    images.write("img", filled("two"))
    await back_up(images)
    assert set(images.entries.get("img").snapshots) == before
    assert images.left() == []
    images.write("img", filled("three"))
    await restore(images, "other")
    assert images.read("other") == filled("two")


async def test_both_kinds_are_made_in_turn(images: Engine) -> None:
    """Each is what the volume was; neither takes the other for what it comes after."""
    texts = ["two", "three", "four", "five"]
    for number, text in enumerate(texts):
        images.pass_time(1)
        images.write("img", filled(text))
        await back_up(images, raw=number % 2 == 0)
    views = await images.backups.views("img", "", Progress())
    found = {}
    for view in views:
        await images.restores.restore(view.url, "", view.id[:8], Options(), Progress())
        found[images.read(view.id[:8])] = view.raw
    assert found == {filled(text): number % 2 == 0 for number, text in enumerate(texts)}


async def test_a_snapshot_by_hand_is_backed_up_both_ways(images: Engine, tmp_path: Path) -> None:
    await images.snapshot("img", "nightly")
    await back_up(images, "img@nightly", raw=False)
    await back_up(images, "img@nightly")
    views = await images.backups.views("img", "", Progress())
    assert sorted(view.raw for view in views) == [False, True]
    assert {view.snapshot_name for view in views} == {"nightly"}


async def test_a_schedule_backs_up_images_beside_files_of_others(images: Engine) -> None:
    """In one session, each as its schedule says by now; `--no-raw` is of any volume."""
    daily: dict[str, str | bool | None] = {"schedule_backup": "@daily"}
    await images.schedules.set("img", {**daily, "schedule_raw": True})
    await images.schedules.set("db", {**daily, "schedule_raw": False})
    assert [images.schedules.inspect(name).raw for name in ("img", "db")] == [True, False]
    assert await scheduled(images) == ({"img": True, "db": False}, [])
    await images.schedules.set("img", {"schedule_raw": None})
    assert await scheduled(images) == ({"img": False, "db": False}, [])
    await images.schedules.set("img", {"schedule_raw": True})
    await images.schedules.set("img", {"schedule_backup": None, "schedule_snapshot": "@daily"})
    assert not images.schedules.inspect("img").raw


async def scheduled(
    engine: Engine, *, without_room: str = ""
) -> tuple[dict[str, bool], Sequence[str]]:
    """Of which volumes a run of the schedules of both makes backups, raw or not; its problems."""
    engine.pass_time(1)
    begun = [(await engine.backups.begin(name, "offsite", Progress()))[0] for name in ("img", "db")]
    for name in begun:
        if volume_of(name) == without_room:
            engine.kernel.failures["finish", name] = OperationFailed("no room")
    views, problems = await engine.backups.finish(begun, "offsite", Progress())
    return {view.volume: view.raw for view in views}, problems


async def test_what_the_next_is_compared_with_stays_of_those_whose_files_are_backed_up(
    images: Engine,
) -> None:
    """Though a clone was backed up of another volume in the same session."""
    await images.schedules.set("img", {"schedule_backup": "@daily", "schedule_raw": True})
    images.backend.way = Way.INSIDE
    assert await scheduled(images) == ({"img": True, "db": False}, [])
    kept = {name: len(images.entries.get(name).snapshots) for name in ("img", "db")}
    assert kept == {"img": 0, "db": 1}


async def test_an_image_that_cannot_be_had_costs_no_other_volume_its_backup(
    images: Engine,
) -> None:
    """Of one whose snapshots lie inside there may be no room for a clone."""
    await images.schedules.set("img", {"schedule_backup": "@daily", "schedule_raw": True})
    images.backend.way = Way.INSIDE
    assert await scheduled(images, without_room="img") == ({"db": False}, ["img: no room"])
    assert images.left() == []
    assert images.entries.get("img").snapshots == {}
    await images.snapshot("img", "nightly")
    images.kernel.failures["finish", "img@nightly"] = OperationFailed("no room")
    with pytest.raises(OperationFailed, match="no room"):
        await back_up(images, "img@nightly")


async def test_what_is_to_be_backed_up_as_an_image_stays_one(
    images: Engine, kernel: FakeKernel
) -> None:
    """Another kind of volume has none; where a schedule says so all the same, that is told."""

    class Folders(FakeBackend):
        name = "folders"
        takes = FakeBackend.takes - {"schedule_raw"}

    images.host.backends = {**images.host.backends, "folders": Folders(kernel)}
    await images.schedules.set("img", {"schedule_backup": "@daily", "schedule_raw": True})
    with pytest.raises(Unsupported, match=r"schedule\.raw is for backend=fake"):
        await images.copies.convert("img", Options(backend="folders"), Progress())
    await images.volumes.create("folder", Options(backend="folders"))
    with pytest.raises(Unsupported, match=r"schedule\.raw is for backend=fake"):
        await images.schedules.set("folder", {"schedule_backup": "@daily", "schedule_raw": True})
    await images.schedules.set("db", {"schedule_backup": "@daily", "schedule_raw": True})
    found, (problem,) = await scheduled(images)
    assert found == {"img": True}
    assert problem.startswith("db: only what is kept in an image")
