"""The trash of a shared root, which all hosts give back from and purge, at the same time."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy_py.errors import (
    AlreadyExists,
    Conflict,
    ConvoyError,
    NotFound,
    OperationFailed,
    Unavailable,
)
from convoy_py.models.claims import Member, Mode
from convoy_py.state import claims, register
from convoy_py.state.formats import Unreadable
from convoy_py.state.news import News
from convoy_py.state.records import Record
from tests.fakes_engine import DAY, Engine, FakeKernel
from tests.unit.engine.sharing import FOLDER, IMAGE, names, seen

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


class Killed(BaseException):
    """The daemon ends between two steps."""


def killed(*_: object, **__: object) -> None:
    raise Killed


@pytest.fixture
async def removed(hosts: tuple[Engine, Engine]) -> tuple[Engine, Engine]:
    """The first host has removed the volume db; both know."""
    a, b = hosts
    await a.volumes.create("db", IMAGE)
    a.write("db", "precious")
    await a.volumes.remove("db")
    await seen(b)
    return a, b


def trashed(engine: Engine) -> list[str]:
    return [each.name for each in engine.trash.views()]


@contextmanager
def meanwhile(engine: Engine, step: str, act: Callable[[], object]) -> Iterator[None]:
    """Another host acts just before the first swap of a claim, or move, of this one."""
    with pytest.MonkeyPatch.context() as patched:
        owner: object = register if step == "swap" else engine.store
        real = getattr(owner, step)

        def acts(*args: object) -> object:
            patched.undo()
            act()
            return real(*args)

        patched.setattr(owner, step, acts)
        yield


async def test_of_two_that_give_it_two_names_one_does(removed: tuple[Engine, Engine]) -> None:
    a, b = removed
    of_a, of_b = a.trash.contents()[0], b.trash.contents()[0]
    with (
        meanwhile(a, "swap", lambda: b.host.trash.restore(of_b, "theirs")),
        pytest.raises(NotFound, match="in the trash no longer"),
    ):
        a.host.trash.restore(of_a, "ours")
    await seen(a, b)
    assert (names(a), names(b)) == (["theirs"], ["theirs"])
    assert a.read("theirs") == "precious"


async def test_of_two_that_go_on_with_one_restore_both_are_right(
    removed: tuple[Engine, Engine],
) -> None:
    a, b = removed
    of_a, of_b = a.trash.contents()[0], b.trash.contents()[0]

    def other() -> None:
        with pytest.raises(Conflict):
            b.host.trash.restore(of_b, "theirs")

    with meanwhile(a, "move", other):
        assert a.host.trash.restore(of_a, "ours").name == "ours"
    await seen(a, b)
    assert (names(a), names(b)) == (["ours"], ["ours"])


async def test_what_one_restores_no_other_purges(removed: tuple[Engine, Engine]) -> None:
    a, b = removed
    of_a, of_b = a.trash.contents()[0], b.trash.contents()[0]
    with (
        meanwhile(b, "swap", lambda: a.host.trash.restore(of_a, "db")),
        pytest.raises(NotFound, match="in the trash no longer"),
    ):
        b.host.trash.retire(of_b)
    assert b.store.half_deleted() == []
    await seen(b)
    assert b.read("db") == "precious"


async def test_what_one_has_begun_to_restore_no_other_purges(
    removed: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But it goes on with it, for who began may never come back."""
    a, b = removed
    monkeypatch.setattr(a.store, "move", killed)
    with pytest.raises(Killed):
        a.host.trash.restore(a.trash.contents()[0], "back")
    assert trashed(b) == ["db"]
    assert await b.trash.purge("db") == []
    await seen(b)
    assert (names(b), b.trash.views(), b.read("back")) == (["back"], [], "precious")


async def test_what_one_purges_no_other_restores(removed: tuple[Engine, Engine]) -> None:
    a, b = removed
    of_a, of_b = a.trash.contents()[0], b.trash.contents()[0]

    def other() -> None:
        with pytest.raises(NotFound, match="being purged"):
            b.host.trash.restore(of_b, "db")

    with meanwhile(a, "move", other):
        a.host.trash.retire(of_a)
    await seen(b)
    assert (names(b), b.trash.views()) == ([], [])


async def test_a_restore_that_was_cut_off_is_completed_by_the_next_start(
    removed: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = removed
    monkeypatch.setattr(b.store, "move", killed)
    with pytest.raises(Killed):
        b.host.trash.restore(b.trash.contents()[0], "back")
    a = a.restarted()
    assert (names(a), trashed(a)) == ([], ["db"])  # it is no affair of this host
    b._member = Member(2, 1)  # nor need it be the same life
    b = b.restarted()
    await seen(a)
    for host in (a, b):
        assert (names(host), host.trash.views(), host.read("back")) == (["back"], [], "precious")


async def test_a_restore_without_an_answer_is_completed_by_the_next_start(
    removed: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = removed
    swap = register.swap

    def unanswered(*args: object) -> bool:
        swap(*args)  # type: ignore[arg-type]  # as it was called
        raise Unavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(register, "swap", unanswered)
        with pytest.raises(Unavailable):
            await b.trash.restore("db")
    assert (names(b), trashed(b)) == ([], ["db"])
    b = b.restarted()
    await seen(a)
    for host in (a, b):
        assert (names(host), host.trash.views(), host.read("db")) == (["db"], [], "precious")


async def test_a_restore_whose_name_is_taken_leaves_it_in_the_trash(
    removed: tuple[Engine, Engine],
) -> None:
    a, b = removed
    of_b = b.trash.contents()[0]

    def other() -> None:
        a.store.home("new").mkdir()
        (a.store.home("new") / "file").touch()

    with meanwhile(b, "move", other), pytest.raises(AlreadyExists):
        b.host.trash.restore(of_b, "new")
    assert claims.read(of_b.home).mode is Mode.GONE  # type: ignore[union-attr]  # it has one
    await a.trash.restore("db")
    await seen(b)
    assert b.read("db") == "precious"


async def test_one_that_was_cut_off_whose_name_is_taken_stays_in_the_trash(
    removed: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = removed
    monkeypatch.setattr(b.store, "move", killed)
    with pytest.raises(Killed):
        b.host.trash.restore(b.trash.contents()[0], "new")
    await a.volumes.create("new", FOLDER)
    b._member = Member(2, 1)
    b = b.restarted()
    assert (names(b), trashed(b)) == (["new"], ["db"])
    await b.trash.restore("db")
    assert b.read("db") == "precious"


async def test_what_is_removed_again_before_another_goes_on_is_in_the_trash(
    removed: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = removed
    (of_b,) = b.trash.contents()
    with monkeypatch.context() as patched:
        patched.setattr(a.store, "move", killed)
        with pytest.raises(Killed):
            a.host.trash.restore(a.trash.contents()[0], "db")

    def again() -> None:
        a.host.trash.complete()
        a.host.trash.put(a.store.read("db"), NOON)

    with meanwhile(b, "move", again), pytest.raises(Conflict):
        b.host.trash.restore(of_b, "other")
    await seen(a, b)
    assert (names(a), names(b), trashed(a), trashed(b)) == ([], [], ["db"], ["db"])
    assert list(b.store.volumes.iterdir()) == []


async def test_a_restore_that_could_not_move_it_is_repeated(
    removed: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, b = removed

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    with monkeypatch.context() as patched:
        patched.setattr(b.store, "move", busy)
        with pytest.raises(OperationFailed, match="busy"):
            await b.trash.restore("db")
    assert (names(b), trashed(b)) == ([], ["db"])
    await b.trash.restore("db")
    assert (names(b), trashed(b), b.read("db")) == (["db"], [], "precious")


async def test_a_purge_that_was_cut_off_is_completed_by_the_next_start(
    removed: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = removed
    monkeypatch.setattr(b.store, "move", killed)
    with pytest.raises(Killed):
        b.host.trash.retire(b.trash.contents()[0])
    assert [each.name for each in a.restarted().trash.views()] == ["db"]
    b = b.restarted()
    assert b.trash.views() == []
    await b.sweep()
    assert list(b.store.trash.iterdir()) == []


async def test_what_changed_since_it_was_seen_in_the_trash_is_not_given_back_as_it_was(
    removed: tuple[Engine, Engine],
) -> None:
    a, b = removed
    of_b = b.trash.contents()[0]
    await a.trash.restore("db")
    record = a.store.read("db")
    a.store.update(record.model_copy(update={"protected": True}))
    await seen(a)
    claims.change(a.store.home("db"), lambda claim: claim.used(Member(1, 0), Mode.ONE, bool))
    a.host.trash.put(a.store.read("db"), NOON)
    with pytest.raises(Conflict, match="changed by another host meanwhile"):
        b.host.trash.restore(of_b, "db")
    await seen(b)
    await b.trash.restore("db")
    assert b.volumes.get("db").protected


async def test_what_the_remover_did_not_finish_is_nobody_elses(
    removed: tuple[Engine, Engine],
) -> None:
    """While it is given back, and used, a remover that starts takes nothing away."""
    a, b = removed
    with meanwhile(b, "move", a.restarted):
        await b.trash.restore("db")
    await b.uses.mount("db", "m", "e")
    a = a.restarted()
    await seen(a, b)
    assert (names(a), names(b), trashed(a)) == (["db"], ["db"], [])
    assert b.is_mounted("db")


async def test_a_purge_and_a_removal_are_known_to_others_at_once(
    hosts: tuple[Engine, Engine],
) -> None:
    """Once it is in the trash, not when that begins."""
    a, b = hosts
    await a.volumes.create("db", FOLDER)
    await seen(b)

    news, before = News(a.store.root, Member(2, 0)), ""
    move = a.store.move

    def moved(home: Path, target: Path) -> None:
        nonlocal before
        before = news.hear()
        move(home, target)

    a.store.move = moved  # type: ignore[method-assign]
    await a.volumes.remove("db")
    assert news.hear() != before
    await seen(b)
    assert trashed(b) == ["db"]
    await a.trash.purge()
    assert news.hear() != before
    await seen(b)
    assert trashed(b) == []


async def test_what_was_removed_before_the_root_was_shared_is_had_back(
    kernel: FakeKernel, tmp_path: Path
) -> None:
    alone = Engine(tmp_path, kernel, trash_keep=DAY).start()
    for name in ("db", "old"):
        await alone.volumes.create(name, FOLDER)
        alone.write(name, "precious")
        await alone.volumes.remove(name)
    alone.pass_time(DAY / 2)
    alone.killed()
    shared = Engine(tmp_path, kernel, trash_keep=DAY, member=Member(1, 0)).start()
    await shared.trash.restore("db")
    assert shared.read("db") == "precious"
    shared.pass_time(DAY - 1)
    await shared.trash.expire()
    assert trashed(shared) == ["old"]
    shared.pass_time(2)
    await shared.trash.expire()
    assert trashed(shared) == []
    shared.killed()


async def test_what_lost_its_mark_expires_with_who_removed_it(
    removed: tuple[Engine, Engine],
) -> None:
    a, b = removed
    (a.trash.contents()[0].home / "removed.json").unlink()
    a, b = a.restarted(), b.restarted()
    for host in (b, a):
        host.pass_time(1e6)
        await host.trash.expire()
        await host.settled()
        assert trashed(host) == (["db"] if host is b else [])


async def test_a_damaged_claim_is_one_broken_volume(
    hosts: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register, "PATIENCE_SECONDS", 0.0)
    a, _ = hosts
    for name in ("bad", "good", "gone", "lost"):
        await a.volumes.create(name, FOLDER)
    for name in ("gone", "lost"):
        await a.volumes.remove(name)
    (lost,) = (each.home for each in a.trash.contents() if each.name == "lost")
    for home in (a.store.home("bad"), lost):
        (home / "claim" / "oops").mkdir()
    a = a.restarted()
    assert names(a) == ["bad", "good"]
    assert "oops" in a.volumes.get("bad").reason
    assert sorted(trashed(a)) == ["gone", "lost"]
    await a.trash.restore("gone")
    with pytest.raises(ConvoyError, match="oops"):
        await a.trash.restore("lost")
    found = a.store.load()
    assert isinstance(found["bad"], Unreadable)
    assert isinstance(found["gone"], Record)
    (a.store.home("bad") / "claim" / "oops").rmdir()
    assert isinstance(a.store.load()["bad"], Record)
