"""The record of a directory, which several hosts may change at once."""

import pytest

from convoy_py.errors import Conflict, VolumeProtected
from convoy_py.state.records import Record
from tests.fakes_engine import Engine
from tests.unit.engine.test_sharing import FOLDER, hosts, names, seen
from tests.unit.engine.test_sharing_trash import meanwhile

__all__ = ["hosts"]  # the fixture


async def test_of_two_changes_of_a_record_none_is_lost(hosts: tuple[Engine, Engine]) -> None:
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await seen(b)
    before = a.store.read("etc")
    protected = before.model_copy(update={"protected": True})
    changed = before.model_copy(update={"data": "data.2"})
    b.store.update(protected, before)
    with pytest.raises(Conflict, match="changed by another host meanwhile"):
        a.store.update(changed, before)
    with (
        meanwhile(a, "swap", lambda: b.store.update(before, protected)),
        pytest.raises(Conflict, match="changed by another host meanwhile"),
    ):
        a.store.update(changed, protected)
    assert a.store.read("etc") == before
    assert len(list(a.store.home("etc").glob("volume.*.json"))) == 1
    a.store.update(changed, before)
    assert b.store.read("etc") == changed


async def test_a_verb_replaces_only_the_record_that_memory_has(
    hosts: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await seen(a, b)
    update = a.store.update

    def updated(*records: Record) -> None:
        b.store.update(b.store.read("etc").model_copy(update={"data": "data.2"}))
        update(*records)

    with monkeypatch.context() as patched:
        patched.setattr(a.store, "update", updated)
        with pytest.raises(Conflict, match="changed by another host meanwhile"):
            await a.volumes.protect("etc", on=True)
    assert a.store.read("etc").data == "data.2"
    await a.volumes.protect("etc", on=True)
    assert (b.store.read("etc").data, b.store.read("etc").protected) == ("data.2", True)


@pytest.mark.parametrize("verb", ["remove", "rename"])
async def test_what_another_host_protects_until_we_have_it_alone_counts(
    hosts: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await seen(a, b)
    vacate = a.uses.vacate

    async def vacated(*args: object) -> None:
        await b.volumes.protect("etc", on=True)
        await vacate(*args)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(a.uses, "vacate", vacated)
    if verb == "remove":
        with pytest.raises(VolumeProtected):
            await a.volumes.remove("etc")
        assert names(a) == ["etc"]
    else:
        assert (await a.volumes.rename("etc", "usr")).protected
        assert a.store.read("usr").protected
