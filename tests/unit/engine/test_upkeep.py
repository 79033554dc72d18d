"""Backups are proven; a repository is pruned, gets other passwords, is unlocked: really."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps import sessions
from convoy_py.engine.verbs.repositories import Secret
from convoy_py.errors import ConvoyError, Denied, Invalid, NotFound
from convoy_py.models.volume import Options
from convoy_py.restic import unpacked
from convoy_py.restic.repository import Repository
from convoy_py.restic.stores.base import Kind
from convoy_py.restic.stores.local import LocalStore
from tests.fakes_engine import Engine
from tests.fakes_restic import new_repository
from tests.pruning import problems

FIRST, SECOND = "canary-first", "canary-second"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
async def backed(engine: Engine, place: Path) -> Engine:
    """An engine with the repository `offsite`, and in it what a deleted backup alone needs."""
    new_repository(LocalStore(place), FIRST, engine.repositories._sessions.host)
    await _add(engine, place, FIRST)
    await engine.volumes.create("db", Options(size=8192))
    engine.write("db", "one")
    (gone,) = await engine.backups.create(["db"], "", Progress())
    engine.write("db", "two")
    await engine.backups.create(["db"], "", Progress())
    await engine.backups.delete([gone.url], "", Progress())
    return engine


async def _add(engine: Engine, place: Path, password: str, *, keeper: bool = False) -> None:
    secret = Secret("/nowhere/password", password)
    await engine.repositories.add(
        "offsite", str(place), secret, Secret(), Progress(), keeper=keeper
    )


def _packs(place: Path) -> set[Path]:
    return {path for path in place.glob("data/*/*") if path.is_file()}


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in _packs(place))


async def test_a_prune_gives_back_what_was_deleted(backed: Engine, place: Path) -> None:
    """A dry run says the same, and does nothing."""
    before, size = _packs(place), _size(place)
    planned = await backed.backups.prune("", Progress(), dry_run=True)
    assert planned.snapshots == 1
    assert planned.freed_bytes > 0
    assert _packs(place) == before
    assert await backed.backups.prune("", Progress()) == planned
    assert _size(place) < size
    assert problems(LocalStore(place), FIRST) == []
    view = await backed.restores.restore("db", "offsite", "other", Options(), Progress())
    assert backed.read(view.name) == "two"
    again = await backed.backups.prune("", Progress())
    assert (again.deleted, again.repacked, again.freed_bytes) == (0, 0, 0)


async def test_only_the_keeper_prunes(backed: Engine, place: Path) -> None:
    """Another host is told who that is, and may become it."""
    here, other = backed.repositories.inspect("offsite").keeper, "elsewhere"
    assert here
    backed.repositories._sessions.host = other
    with pytest.raises(Denied, match=f"that is host {here}, not elsewhere.* --keeper"):
        await backed.backups.prune("", Progress())
    assert (await backed.backups.prune("", Progress(), dry_run=True)).freed_bytes > 0
    await _add(backed, place, FIRST)
    assert backed.repositories.inspect("offsite").keeper == here
    await _add(backed, place, FIRST, keeper=True)
    assert backed.restarted().repositories.inspect("offsite").keeper == other
    assert (await backed.backups.prune("", Progress())).freed_bytes > 0


async def test_a_host_that_comes_later_knows_who_is_the_keeper(backed: Engine, place: Path) -> None:
    """Who made the repository stands in its first key."""
    here = backed.repositories.inspect("offsite").keeper
    await backed.repositories.remove("offsite")
    backed.repositories._sessions.host = "elsewhere"
    await _add(backed, place, FIRST)
    assert backed.repositories.inspect("offsite").keeper == here


async def test_a_damaged_repository_is_not_pruned(backed: Engine, place: Path) -> None:
    """The error says what is damaged."""
    before = _packs(place)
    largest = max(before, key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    largest.write_bytes(largest.read_bytes()[:-1])
    with pytest.raises(ConvoyError, match=f"data/{largest.name}"):
        await backed.backups.prune("", Progress())
    assert _packs(place) == before


async def test_another_password_opens_it_and_the_old_one_no_longer(
    backed: Engine, place: Path
) -> None:
    """Once the old one is not in use any more."""
    repositories = backed.repositories
    (first,) = await repositories.keys("offsite", Progress())
    assert (first.in_use, first.host) == (True, repositories.inspect("offsite").keeper)
    assert first.created.endswith("Z")
    with pytest.raises(NotFound, match="none of the keys begins with 'zz'"):
        await repositories.remove_key("offsite", "zz", Progress())
    with pytest.raises(Invalid, match="is empty"):
        await repositories.add_key("offsite", " \n", Progress())
    second = await repositories.add_key("offsite", f"{SECOND}\n", Progress())
    found = await repositories.keys("offsite", Progress())
    assert {key.id: key.in_use for key in found} == {first.id: True, second.id: False}
    with pytest.raises(ConvoyError, match="that of the password in use") as caught:
        await repositories.remove_key("offsite", first.id[:8], Progress())
    assert "canary" not in str(caught.value)
    await _add(backed, place, SECOND)
    gone = await repositories.remove_key("offsite", first.id[:8], Progress())
    assert gone.id == first.id
    with pytest.raises(ConvoyError, match="is that of the password in use"):
        await repositories.remove_key("offsite", second.id, Progress())
    with pytest.raises(Denied):
        await _add(backed, place, FIRST)
    assert await backed.backups.views("db", "", Progress())


async def test_an_unknown_repository_has_no_keys(engine: Engine) -> None:
    with pytest.raises(NotFound):
        await engine.repositories.keys("nosuch", Progress())


async def test_unlock_removes_the_stale_and_tells_of_the_others(
    backed: Engine, place: Path
) -> None:
    """With `everything` those, too."""
    now = datetime.now(UTC)  # noqa: TID251 - of the session, which is another process
    old, young = _lock(place, now - timedelta(minutes=31)), _lock(place, now)
    done = await backed.repositories.unlock("offsite", Progress(), everything=False)
    assert [lock.id for lock in done.unlocked] == [old]
    assert [(lock.id, lock.exclusive) for lock in done.locked] == [(young, True)]
    assert "root@there (process 7)" in done.locked[0].told
    done = await backed.repositories.unlock("offsite", Progress(), everything=True)
    assert [lock.id for lock in done.unlocked] == [young]
    assert list(place.glob("locks/*")) == []


def _lock(place: Path, time: datetime) -> str:
    repository = Repository.open(LocalStore(place), FIRST)
    fields = {
        "time": time.isoformat(),
        "exclusive": True,
        "hostname": "there",
        "username": "root",
        "pid": 7,
    }
    plain = json.dumps(fields).encode()
    return unpacked.save(repository.store, repository.master_key, Kind.LOCK, plain)


def _volumes(engine: Engine) -> list[Path]:
    """All that lies beside volumes, too."""
    return sorted(engine.store.root.glob("volumes/*"))


async def test_a_backup_is_proven_and_that_is_remembered(backed: Engine, place: Path) -> None:
    """By a restore that leaves nothing, and is no volume."""
    before = _volumes(backed)
    (never,) = await backed.backups.views("db", "", Progress())
    assert never.proven is None
    proven, problems = await backed.proofs.prove([], "", Progress())
    assert [(view.id, problems) for view in proven] == [(never.id, [])]
    assert proven[0].proven == datetime.fromtimestamp(backed.wall(), UTC)
    assert _volumes(backed) == before
    after = backed.restarted()
    (again,) = await after.backups.views("db", "", Progress())
    assert again.proven == proven[0].proven
    await after.backups.delete([again.url], "", Progress())
    await after.backups.create(["db"], "", Progress())
    await after.proofs.prove([], "", Progress())
    assert [proof.volume for _, proof in after.repositories.all_proofs()] == ["db"]
    await after.repositories.remove("offsite")
    assert list(after.store.root.glob("repositories/*")) == []


async def test_nothing_to_prove_is_no_proof(backed: Engine) -> None:
    (only,) = await backed.backups.views("db", "", Progress())
    await backed.backups.delete([only.url], "", Progress())
    with pytest.raises(NotFound, match="there is no backup to prove"):
        await backed.proofs.prove([], "", Progress())


async def test_what_is_protected_stays_whatever_a_policy_keeps(backed: Engine) -> None:
    """Under the id and the URL that it had, and proven as before; until that is taken back."""
    made = []
    for _ in range(3):
        made += await backed.backups.create(["db"], "", Progress())
        backed.pass_time(1)
    protected, second, newest = made
    await backed.proofs.prove([protected.id], "", Progress())
    for _ in range(2):
        (told,) = await backed.backups.protect([protected.url], "", Progress(), on=True)
        assert (told.url, told.protected) == (protected.url, True)
    with pytest.raises(Denied, match=r"is protected; `convoy backup protect --off '/"):
        await backed.backups.delete([second.id, protected.id], "", Progress())
    gone, problems = await backed.backups.forget("db", "", "1last", Progress())
    assert (second.id in {each.id for each in gone}, problems) == (True, [])
    views = {view.id: view for view in await backed.backups.views("db", "", Progress())}
    assert views.keys() == {protected.id, newest.id}
    assert views[protected.id].proven
    assert views[protected.id].protected
    assert not views[newest.id].protected
    await backed.restores.restore(protected.url, "", "other", Options(), Progress())
    assert backed.read("other") == backed.read("db")
    await backed.backups.protect([protected.id[:12]], "", Progress(), on=False)
    await backed.backups.delete([protected.url], "", Progress())
    assert [v.id for v in await backed.backups.views("", "", Progress())] == [newest.id]
    assert await backed.backups.verify("", 100, Progress()) == []


async def test_the_newest_of_this_host_is_what_a_schedule_proves(backed: Engine) -> None:
    """And what another host, or nobody, has backed up is told as not there."""
    await backed.backups.create(["db"], "", Progress())
    backed.pass_time(1)
    (newest,) = await backed.backups.create(["db"], "", Progress())
    proven = await backed.proofs.prove_newest("db", "offsite", Progress())
    assert (proven.id, proven.proven) == (newest.id, datetime.fromtimestamp(backed.wall(), UTC))
    with pytest.raises(NotFound, match="offsite has no backup of a volume web of this host"):
        await backed.proofs.prove_newest("web", "offsite", Progress())
    backed.proofs._here = "elsewhere"
    with pytest.raises(NotFound, match="of this host to prove"):
        await backed.proofs.prove_newest("db", "offsite", Progress())


async def test_what_is_not_as_the_backup_says_is_told_and_no_longer_proven(
    backed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the owner of a file is another by the time it is compared."""
    await backed.proofs.prove([], "", Progress())
    (view,) = await backed.backups.views("db", "", Progress())
    assert view.proven
    monkeypatch.setattr(sessions, "PROGRAM", (sys.executable, "-c", _HARMED))
    proven, problems = await backed.proofs.prove([view.id[:8]], "offsite", Progress())
    assert proven == []
    assert [problem.removeprefix(view.url) for problem in problems] == [
        ": file: content from byte 0 on"
    ]
    monkeypatch.undo()
    (view,) = await backed.backups.views("db", "", Progress())
    assert view.proven is None


_HARMED = """
import sys
from convoy_py.restic import prover
from convoy_py.session.__main__ import main

pieces = prover._pieces
prover._pieces = lambda *where: (piece[::-1] + b"x" for piece in pieces(*where))
sys.exit(main())
"""


async def test_what_cannot_be_restored_is_a_problem_of_that_backup(
    backed: Engine, place: Path
) -> None:
    (view,) = await backed.backups.views("db", "", Progress())
    for pack in _packs(place):
        pack.chmod(0o600)
        pack.write_bytes(bytes(pack.stat().st_size))
    proven, problems = await backed.proofs.prove([view.url], "", Progress())
    assert proven == []
    assert [problem.startswith(f"{view.url}: repository offsite: ") for problem in problems] == [
        True
    ]
