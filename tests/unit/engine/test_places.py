"""Repositories that Convoy's scripts name by their place: made and opened by the settings."""

from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.verbs.repositories import Secret
from convoy_py.errors import Invalid, NotFound, VolumeNotFound
from convoy_py.models.volume import Options
from tests.fakes_engine import Engine, FakeKernel


@pytest.fixture
async def scripted(engine: Engine, kernel: FakeKernel, tmp_path: Path) -> Engine:
    """An engine with the setting, and a snapshot of a volume `db` with something in it."""
    engine.killed()
    file = tmp_path / "password"
    file.write_text("secret\n")
    scripted = Engine(tmp_path, kernel, backup_password_file=file).start()
    await scripted.volumes.create("db", Options(size=8192))
    scripted.write("db", "one")
    await scripted.snapshot("db", "nightly")
    return scripted


@pytest.fixture
def place(tmp_path: Path) -> str:
    """An empty folder, as Convoy spells it."""
    (tmp_path / "backups").mkdir()
    return f"vfs://{tmp_path}/backups/"


async def test_a_place_is_made_a_repository_at_its_first_use(scripted: Engine, place: str) -> None:
    """Not by looking; and then it is one that is known, however it is spelled."""
    assert await scripted.backups.views("", place, Progress()) == []
    assert scripted.repositories.views() == []
    (backup,) = await scripted.backups.create(["db@nightly"], place, Progress())
    (view,) = scripted.repositories.views()
    assert backup.url.startswith(f"{view.location}?backup=backup-")
    again = place.rstrip("/").removeprefix("vfs://")
    (other,) = await scripted.backups.create(["db@nightly"], again, Progress())
    assert (other.repository, other.url != backup.url) == (view.name, True)
    await scripted.volumes.remove("db")
    await scripted.volumes.create("new", Options(backup=backup.url))
    await scripted.settled()
    assert scripted.read("new") == "one"


async def test_an_engine_names_known_repositories_alone(scripted: Engine, place: str) -> None:
    """Else whoever may make volumes has the daemon's credentials sent to a server of theirs."""
    (backup,) = await scripted.backups.create(["db@nightly"], place, Progress())
    await scripted.repositories.remove(backup.repository)
    options = Options(backup=backup.url)
    for named in (backup.url, "azure:box:/x?backup=backup-", "offsite"):
        with pytest.raises(NotFound, match=r"no (such )?repository"):
            await scripted.volumes.create("new", Options(backup=named), by_engine=True)
    assert scripted.repositories.views() == []
    await scripted.backups.views("", place, Progress())
    await scripted.volumes.create("new", options, by_engine=True)
    await scripted.volumes.create("new", options, by_engine=True)
    await scripted.settled()
    await scripted.repositories.remove(backup.repository)
    await scripted.volumes.create("new", options, by_engine=True)  # it is there


async def test_a_backup_that_is_looked_into_tells_of_its_volume(
    scripted: Engine, place: str
) -> None:
    """In Convoy's words, also on a host that only knows the place."""
    volume, snapshot = scripted.entries.get("db"), scripted.snapshots.inspect("db@nightly")
    (made,) = await scripted.backups.create(["db@nightly"], place, Progress())
    await scripted.repositories.remove(made.repository)
    found = await scripted.backups.find(made.url, "", Progress())
    assert await scripted.backups.views("", place, Progress(), described=True) == [found]
    assert (found.driver, found.volume_size) == ("fake", 8192)
    assert found.volume_created == volume.volume_record().created
    assert (found.snapshot_name, found.snapshot_created) == ("nightly", snapshot.created)
    (plain,) = await scripted.backups.views("db", place, Progress())
    assert (plain.driver, plain.volume_size, plain.volume_created) == ("", None, None)


async def test_what_is_no_place_for_one_is_refused(scripted: Engine, tmp_path: Path) -> None:
    """A disk that is not mounted is no folder to make one in; a name is no place."""
    with pytest.raises(Invalid, match=r"VFS path /nowhere doesn't exist or is not a directory"):
        await scripted.backups.create(["db"], "vfs:///nowhere", Progress())
    with pytest.raises(NotFound, match="no such repository: offsite"):
        await scripted.backups.create(["db"], "offsite", Progress())
    with pytest.raises(VolumeNotFound):
        await scripted.backups.create(["web"], str(tmp_path), Progress())
    url = f"{tmp_path}?backup=backup-0123456789abcdef&volume=db"
    with pytest.raises(NotFound, match="no backup 0123456789abcdef"):
        await scripted.backups.find(url, "", Progress())


async def test_without_the_setting_it_is_told_how_to_make_one(engine: Engine, place: str) -> None:
    await engine.volumes.create("db", Options())
    with pytest.raises(NotFound, match=r"convoy repository add NAME .* backup_password_file"):
        await engine.backups.create(["db"], place, Progress())


async def test_a_setting_says_which_repository_is_meant_where_none_is_named(
    engine: Engine, kernel: FakeKernel, tmp_path: Path, password: Secret
) -> None:
    """Of several; and that it is not known is told with the setting's name."""
    engine.killed()
    file = Path(password.file)
    daemon = Engine(
        tmp_path, kernel, default_repository="offsite", backup_password_file=file
    ).start()
    await daemon.volumes.create("db", Options())
    with pytest.raises(NotFound, match=r"offsite .*; the setting default_repository names it"):
        await daemon.backups.create(["db"], "", Progress())
    for name in ("nas", "offsite"):
        await daemon.repositories.add(name, str(tmp_path / name), password, Secret(), Progress())
    (backup,) = await daemon.backups.create(["db"], "", Progress())
    assert backup.repository == "offsite"
    (backup,) = await daemon.backups.create(["db"], "nas", Progress())
    assert backup.repository == "nas"
    await daemon.schedules.set("db", {"schedule_backup": "@daily"})
    assert daemon.schedules.inspect("db").to == "offsite"
