"""A record that names its data: what becomes of the name in each verb that makes a new record."""

import pytest

from convoy_py.backends.base import Place
from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import InvalidOption
from convoy_py.models.volume import Options
from convoy_py.state.records import Record
from tests.fakes_engine import Engine


@pytest.fixture
async def named(engine: Engine) -> Engine:
    """One with a volume `db` whose record names its data."""
    return await _with_a_name(engine)


async def _with_a_name(engine: Engine) -> Engine:
    await engine.volumes.create("db", Options())
    home = engine.store.home("db")
    (home / "data").rename(home / "data.4")
    engine.store.update(_record(engine).model_copy(update={"data": "data.4"}))
    return engine.restarted()


def _record(engine: Engine, name: str = "db") -> Record:
    record = engine.store.read(name)
    assert isinstance(record, Record)
    return record


def _entry_data(engine: Engine, name: str = "db") -> str | None:
    return engine.operations.entries.get(name).usable()[1].data


async def test_it_is_what_is_mounted(named: Engine) -> None:
    """Its backend is told."""
    assert _entry_data(named) == "data.4"
    await named.uses.mount("db", "container", "1:1")
    assert named.volumes.get("db").reason == ""


async def test_it_stays_with_the_volume(named: Engine) -> None:
    """Under another name, in the trash and out of it, forgotten and adopted."""
    await named.volumes.rename("db", "web")
    assert _record(named, "web").data == _entry_data(named, "web") == "data.4"
    await named.volumes.rename("web", "db")
    await named.volumes.remove("db", keep_data=True)
    await named.volumes.create("db", Options(), adopt=True)
    assert _record(named).data == _entry_data(named) == "data.4"
    await named.snapshot("db", "s")
    assert named.operations.entries.get("db@s").usable()[1].data is None


async def test_a_purge_takes_it_by_its_name(
    keeping: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a limit on it goes first."""
    named = await _with_a_name(keeping)
    gone: list[str | None] = []
    destroy = named.backend.destroy

    def destroyed(place: Place) -> None:
        gone.append(place.data)
        destroy(place)

    monkeypatch.setattr(named.backend, "destroy", destroyed)
    await named.volumes.remove("db")
    await named.trash.purge("db")
    await named.deletions.settled()
    assert gone == ["data.4"]


async def test_what_is_built_anew_has_the_usual_name(named: Engine) -> None:
    """Whatever that had which it is made of, or takes the place of."""
    await named.copies.clone("db", "copy", Options(), Progress())
    await named.copies.convert("db", Options(), Progress())
    for name in ("copy", "db"):
        assert _record(named, name).data is None
        assert _entry_data(named, name) is None
        assert (named.store.home(name) / "data").is_dir()


async def test_without_its_record_nobody_knows_which_it_was(named: Engine) -> None:
    """What has the usual name may have been replaced, and what has a number never been named."""
    home = named.store.home("db")
    (home / "volume.json").unlink()
    (home / "data").mkdir()
    (home / "log.1").touch()  # what is someone's own is in nobody's way
    after = named.restarted()
    with pytest.raises(InvalidOption, match=r"has data\.4, and no record that says which"):
        await after.volumes.create("db", Options(), adopt=True)
    (home / "data").rmdir()
    (home / "data.4").rename(home / "data")
    await after.volumes.create("db", Options(), adopt=True)
    assert _entry_data(after) is None
