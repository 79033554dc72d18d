"""What one host asked of a claim, and got no answer to, may be done long after."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convoy_py.errors import Unavailable, VolumeElsewhere
from convoy_py.models.claims import Claim, Member, Mode
from convoy_py.models.volume import Options
from convoy_py.state import claims, register
from convoy_py.state.claims import SharedRecords
from tests.fakes_engine import Engine
from tests.unit.engine.sharing import FOLDER, IMAGE, seen


class Renames:
    """The renames of claims; the next ones may have another fate."""

    def __init__(self) -> None:
        self.next: list[Callable[[Path, Path], None]] = []
        self.count = 0
        self._late: list[tuple[Path, Path]] = []

    def __call__(self, old: Path, new: Path) -> None:
        if old.parent.name != claims.CLAIM:
            os.rename(old, new)
            return
        self.count += 1
        fate = self.next.pop(0) if self.next else os.rename
        fate(old, new)

    def late(self, old: Path, new: Path) -> None:
        self._late.append((old, new))
        self.refuse(old, new)

    def refuse(self, old: Path, new: Path) -> None:
        raise OSError(errno.EIO, "given up")

    def come(self) -> None:
        for old, new in self._late:
            if old.exists():
                os.rename(old, new)


@pytest.fixture
def renames(monkeypatch: pytest.MonkeyPatch) -> Renames:
    renames = Renames()
    monkeypatch.setattr(register, "_rename", renames)
    monkeypatch.setattr(register, "PATIENCE_SECONDS", 0.0)
    return renames


@pytest.mark.parametrize("restarts", [False, True], ids=["same daemon", "next daemon"])
async def test_a_volume_that_is_mounted_again_is_not_given_back_late(
    hosts: tuple[Engine, Engine], renames: Renames, restarts: bool
) -> None:
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    await seen(b)
    await a.uses.mount("db", "m", "e")
    renames.next = [renames.late]
    await a.uses.unmount("db", "m")
    if restarts:
        a = a.restarted()
        await seen(a)
    await a.uses.mount("db", "m", "e")
    renames.come()
    assert a.is_mounted("db")
    with pytest.raises(VolumeElsewhere):
        await b.uses.mount("db", "n", "e")


@pytest.mark.parametrize("first", [True, False], ids=["at first", "in the end"])
async def test_what_is_still_mounted_is_not_given_back_late_either(
    hosts: tuple[Engine, Engine], renames: Renames, first: bool
) -> None:
    """By a daemon that died while it gave back what its successor found mounted again."""
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    await seen(b)
    await a.uses.mount("db", "m", "e")
    home = a.store.home("db")
    claim = claims.read(home)
    assert claim is not None
    value = home / claims.CLAIM / str(claim)
    with pytest.raises(OSError, match="given up"):
        renames.late(value, value.with_name(str(claim.left(Member(1, 0)))))
    a = a.restarted()
    assert a.sharing
    if not first:
        renames.next = [renames.refuse]
    await a.sharing.begin(a.entries.volumes)
    if not first:
        await a.sharing.tidy()
    renames.come()
    assert a.is_mounted("db")
    with pytest.raises(VolumeElsewhere):
        await b.uses.mount("db", "n", "e")


async def test_what_was_given_back_is_not_ours_for_it_was_seen_so_late(
    hosts: tuple[Engine, Engine], renames: Renames
) -> None:
    """A look at all claims may end after the volume was given back, and listings may be old."""
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    await seen(b)
    await a.uses.mount("db", "m", "e")
    claim = claims.read(a.store.home("db"))
    await a.uses.unmount("db", "m")
    assert a.sharing
    await a.sharing.follow("db", claim)
    await b.uses.mount("db", "n", "e")
    with pytest.raises(VolumeElsewhere):
        await a.uses.mount("db", "m", "e")


async def test_what_may_be_shared_by_now_is_looked_at(
    hosts: tuple[Engine, Engine], renames: Renames
) -> None:
    """Else what the other host changed meanwhile would be undone by our next change."""
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await seen(b)
    await a.uses.mount("etc", "m", "e")
    assert a.sharing
    renames.next = [os.rename, renames.late]
    await a.sharing.alone("etc")
    await a.sharing.revisit("etc")
    renames.come()
    await b.volumes.protect("etc", on=True)
    await a.uses.mount("etc", "m", "e")
    assert a.volumes.get("etc").protected


@pytest.mark.parametrize("options", [IMAGE, FOLDER], ids=["image", "directory"])
async def test_what_is_surely_ours_is_not_claimed_again(
    hosts: tuple[Engine, Engine], renames: Renames, options: Options
) -> None:
    a, _ = hosts
    await a.volumes.create("db", options)
    await a.uses.mount("db", "m", "e")
    before = renames.count
    await a.uses.mount("db", "n", "e")
    await a.uses.unmount("db", "n")
    assert renames.count == before


async def test_what_is_surely_ours_alone_is_not_looked_at_again(
    hosts: tuple[Engine, Engine], renames: Renames, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _ = hosts
    await a.volumes.create("db", IMAGE)
    await a.uses.mount("db", "m", "e")

    def listed(folder: Path) -> list[str]:
        raise AssertionError(folder)

    monkeypatch.setattr(register, "_listed", listed)
    assert a.sharing
    await a.sharing.tidy()


async def test_what_is_half_taken_over_is_for_who_takes_it_to_go_on_with(
    hosts: tuple[Engine, Engine], caplog: pytest.LogCaptureFixture
) -> None:
    a, _ = hosts
    await a.volumes.create("db", IMAGE)
    home = a.store.home("db")
    claim = claims.change(home, lambda claim: replace(claim.told(), mode=Mode.TAKEN))
    a = a.restarted()
    assert a.sharing
    await a.sharing.follow("db", claim)
    await a.sharing._confirm("db")
    assert claims.read(home) == claim
    assert "not confirmed" not in caplog.text


def test_a_record_stays_whose_change_got_no_answer_before_others_joined(
    tmp_path: Path, renames: Renames
) -> None:
    """Then the claim has its tag already, with another's change on top."""
    home = tmp_path / "etc"
    home.mkdir()
    records = SharedRecords(Member(1, 0), lambda: None)
    records.write(home, b"first")

    def lost(old: Path, new: Path) -> None:
        os.rename(old, new)
        joined = Claim.parsed(new.name).opened(Member(1, 0))
        joined = joined.used(Member(2, 0), Mode.MANY, lambda _: False)
        os.rename(new, new.with_name(str(joined)))
        raise OSError(errno.EIO, "no answer")

    renames.next = [lost]
    records.write(home, b"second")
    assert records.read(home) == b"second"
    assert len(list(home.glob("volume.*.json"))) == 1


async def test_a_directory_that_both_use_is_not_given_back_late(
    hosts: tuple[Engine, Engine], renames: Renames
) -> None:
    a, b = hosts
    await a.volumes.create("etc", FOLDER)
    await seen(b)
    await a.uses.mount("etc", "m", "e")
    renames.next = [renames.late]
    await a.uses.unmount("etc", "m")
    await a.uses.mount("etc", "m", "e")
    renames.come()
    with pytest.raises(VolumeElsewhere):
        await b.volumes.remove("etc")


async def test_a_record_that_may_be_changed_by_now_is_read(
    hosts: tuple[Engine, Engine], renames: Renames
) -> None:
    """Of an image, too, which nobody else changes."""
    a, _ = hosts
    await a.volumes.create("db", IMAGE)
    await a.uses.mount("db", "m", "e")
    renames.next = [renames.late]
    with pytest.raises(Unavailable):
        await a.volumes.protect("db", on=True)
    renames.come()
    await a.uses.mount("db", "n", "e")
    assert a.volumes.get("db").protected


async def test_what_was_claimed_is_held_though_nobody_knows_what_hosts_are_called(
    hosts: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    await seen(b)

    def fail(members: object) -> None:
        raise OSError(errno.EIO, "broken")

    assert a.sharing
    monkeypatch.setattr(a.sharing._claiming._membership, "meet", fail)
    await a.uses.mount("db", "m", "e")
    with pytest.raises(VolumeElsewhere):
        await b.uses.mount("db", "n", "e")
    await a.uses.unmount("db", "m")
    await b.uses.mount("db", "n", "e")
