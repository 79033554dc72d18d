"""The record of a directory, which several hosts may change at once; and damaged claims."""

import pytest

from convoy_py.errors import Conflict, Unavailable, VolumeElsewhere, VolumeProtected
from convoy_py.models.claims import Claim
from convoy_py.state import register
from convoy_py.state.records import Record
from tests.fakes_engine import Engine
from tests.unit.engine.sharing import FOLDER, names, seen
from tests.unit.engine.test_sharing_trash import meanwhile


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


@pytest.fixture
async def damaged(
    hosts: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> tuple[Engine, Engine]:
    """The claim of one of two volumes, which the first host uses, cannot be read any more."""
    monkeypatch.setattr(register, "PATIENCE_SECONDS", 0.0)
    a, b = hosts
    for name in ("bad", "good"):
        await a.volumes.create(name, FOLDER)
        await a.uses.mount(name, "m", "e")
    await seen(a, b)
    (a.store.home("bad") / "claim" / "oops").mkdir()
    return a, b


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_what_others_do_is_seen_though_one_claim_is_damaged(
    damaged: tuple[Engine, Engine], *, is_restarted: bool
) -> None:
    a, b = damaged
    await a.uses.unmount("good", "m")
    await a.volumes.rename("good", "better")
    b = b.restarted() if is_restarted else b
    await seen(b)
    assert names(b) == ["bad", "better"]
    with pytest.raises(Unavailable, match="oops"):
        await b.uses.mount("bad", "m", "e")
    (a.store.home("bad") / "claim" / "oops").rmdir()
    await b.volumes.rename("better", "best")
    await seen(a, b)
    assert (names(a), names(b)) == (["bad", "best"], ["bad", "best"])
    await b.uses.mount("bad", "m", "e")


async def test_a_daemon_begins_though_one_claim_is_damaged(damaged: tuple[Engine, Engine]) -> None:
    a, b = damaged
    a = a.restarted()
    assert a.sharing
    await a.sharing.begin(a.entries.volumes)
    assert not a.sharing.is_idle
    assert a.is_mounted("bad")
    with pytest.raises(VolumeElsewhere):
        await b.volumes.remove("good")


async def test_a_root_that_goes_while_it_is_looked_at_is_looked_at_again(
    hosts: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    root, elsewhere = b.store.root, b.store.root.with_name("elsewhere")
    assert b.sharing
    everything = b.sharing._claiming.everything

    def gone() -> dict[str, Claim]:
        found = everything()
        root.rename(elsewhere)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(b.sharing._claiming, "everything", gone)
        with pytest.raises(Unavailable):
            await seen(b)
    elsewhere.rename(root)
    b.store.presence.back()
    await seen(b)
    assert names(b) == ["etc"]
