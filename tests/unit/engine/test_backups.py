"""Volumes go into a repository and come back, by sessions that are real."""

import asyncio
import errno
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps import sessions
from convoy_py.engine.steps.backups import as_before
from convoy_py.engine.verbs.repositories import Secret
from convoy_py.errors import (
    Cancelled,
    Conflict,
    ConvoyError,
    Denied,
    Invalid,
    NotFound,
    OperationFailed,
    Unsettled,
)
from convoy_py.linux import files
from convoy_py.models.backup import BackupView
from convoy_py.models.schedule import FinishedRun
from convoy_py.models.volume import Options
from tests.fakes_engine import DAY, Engine

GIB = 2**30
CANARY = "canary-0123456789"


async def _add(engine: Engine, folder: Path, password: Secret, name: str = "offsite") -> None:
    location = str(folder / "repository")
    await engine.repositories.add(name, location, password, Secret(), Progress())


async def _back_up(engine: Engine, *names: str) -> list[BackupView]:
    return await engine.backups.create(names, "", Progress())


async def test_a_volume_comes_back_under_another_name(backed: Engine) -> None:
    """With its data and its options; also on a host that only knows the repository."""
    (backup,) = await _back_up(backed, "db")
    assert (backup.volume, backup.repository, backup.files) == ("db", "offsite", 1)
    backed.write("db", "two")
    view = await backed.restores.restore(backup.url, "", "other", Options(), Progress())
    assert (view.name, view.spec and view.spec.size) == ("other", 8192)
    assert (backed.read("other"), backed.read("db")) == ("one", "two")


async def test_the_newest_of_a_volume_is_meant_by_its_name(backed: Engine) -> None:
    await _back_up(backed, "db")
    backed.write("db", "two")
    backed.pass_time(1)
    await _back_up(backed, "db")
    await backed.volumes.remove("db")
    view = await backed.restores.restore("db", "offsite", "", Options(size=4096), Progress())
    assert (view.name, view.spec and view.spec.size) == ("db", 4096)
    assert backed.read("db") == "two"


async def test_an_older_one_of_a_volume_is_meant_by_its_time_or_id(backed: Engine) -> None:
    """The newest up to a moment; what is of another volume or of no time is told."""
    (first,) = await _back_up(backed, "db")
    backed.write("db", "two")
    backed.pass_time(2)
    (second,) = await _back_up(backed, "db")
    restore = partial(backed.restores.restore, options=Options(), progress=Progress())
    for at, content in (
        (first.created, "one"),
        (second.created - timedelta(seconds=1), "one"),
        (second.created, "two"),
        (first.id[:12], "one"),
        (second.id, "two"),
    ):
        await restore("db", "", "other", at=at)
        assert backed.read("other") == content
        await backed.volumes.remove("other")
    with pytest.raises(NotFound, match="is so old: the oldest is of 20"):
        await restore("db", "", "", at=first.created - timedelta(seconds=1))
    with pytest.raises(NotFound, match="no backup 0000 of a volume db"):
        await restore("db", "", "", at="0000")
    with pytest.raises(NotFound, match="no backup of a volume abcd"):
        await restore("abcd", "", "", at=second.id)
    with pytest.raises(Invalid, match="is one backup"):
        await restore(first.url, "", "", at=second.id)


async def test_a_volume_goes_back_and_what_it_was_is_a_snapshot(backed: Engine) -> None:
    """It can be undone by a rollback."""
    await _back_up(backed, "db")
    backed.write("db", "two")
    await backed.restores.restore("db", "", "", Options(), Progress())
    assert backed.read("db") == "one"
    (saved,) = backed.snapshots.views("db")
    assert saved.automatic
    await backed.snapshots.rollback("db", saved.name, Progress())
    assert backed.read("db") == "two"
    assert backed.left() == []


async def test_docker_makes_a_volume_of_a_backup(backed: Engine) -> None:
    """By the option; asked again it is done already."""
    (backup,) = await _back_up(backed, "db")
    await backed.volumes.remove("db")
    for _ in range(2):
        await backed.volumes.create("db", Options(backup="offsite"), patience=60)
    assert backed.read("db") == "one"
    await backed.volumes.create("other", Options(backup=backup.url, size=16384), patience=60)
    assert backed.read("other") == "one"
    with pytest.raises(NotFound, match="repository offsite has no backup of a volume web"):
        await backed.volumes.create("web", Options(backup="offsite"))
    with pytest.raises(Invalid, match="a volume begins as one of the two"):
        await backed.volumes.create("web", Options(backup="offsite", source="db"))
    assert list(backed.host.restore_store.folder.iterdir()) == []


async def test_all_are_backed_up_but_what_is_the_host_s(backed: Engine) -> None:
    """Of a folder of a user's there are no snapshots."""
    for name in ("web", "theirs"):
        await backed.volumes.create(name, Options())
    theirs = backed.entries.get("theirs")
    _, place = theirs.usable()
    spec = place.spec.model_copy(update={"path": "/srv/theirs"})
    theirs.place = replace(place, spec=spec)
    made = await backed.backups.create([], "", Progress(), everything=True)
    assert [view.volume for view in made] == ["db", "web"]


async def test_how_far_a_backup_is(backed: Engine) -> None:
    """In files and bytes; of how many the one before tells, if there is one."""
    for total, told in ((0, "3B read, 0B skipped"), (None, "0B read, 3B skipped, 0B new")):
        progress = Progress()
        (made,) = await backed.backups.create(["db"], "", progress)
        assert progress.note.startswith(f"db: 1 files, {told}")
        assert progress.total == (made.size if total is None else total)
        backed.pass_time(1)


async def test_a_snapshot_is_backed_up_as_it_is(backed: Engine) -> None:
    """And stays, as it was made by a user."""
    await backed.snapshot("db", "nightly")
    backed.write("db", "two")
    (backup,) = await _back_up(backed, "db@nightly")
    await backed.restores.restore(backup.id[:8], "", "other", Options(), Progress())
    assert backed.read("other") == "one"
    assert [view.name for view in backed.snapshots.views("db")] == ["nightly"]


async def test_what_the_next_is_compared_with_is_kept_unlisted(backed: Engine) -> None:
    """One for a repository: that of the last backup."""
    for _ in range(2):
        await _back_up(backed, "db")
        backed.pass_time(1)
    assert backed.snapshots.views("db") == []
    assert len(backed.entries.get("db").snapshots) == 1


async def test_what_is_yet_to_be_backed_up_stays(backed: Engine) -> None:
    """Another backup of the volume is made meanwhile, and what nothing needs is swept."""
    name, _ = await backed.backups.begin("db", "offsite", Progress())
    backed.pass_time(1)
    await _back_up(backed, "db")
    await backed.backups.bases.sweep()
    views, problems = await backed.backups.finish([name], "offsite", Progress())
    assert ([view.volume for view in views], problems) == (["db"], [])
    assert len(backed.entries.get("db").snapshots) == 1


@pytest.mark.parametrize("what", ["removed", "renamed", "its snapshot deleted"])
async def test_a_volume_that_changed_meanwhile_keeps_no_other_from_its_backup(
    backed: Engine, what: str
) -> None:
    await backed.volumes.create("web", Options())
    begun = [(await backed.backups.begin(n, "offsite", Progress()))[0] for n in ("db", "web")]
    match what:
        case "removed":
            await backed.volumes.remove("web")
        case "renamed":
            await backed.volumes.rename("web", "other")
        case _:
            await backed.snapshots.delete(begun[1])
    views, problems = await backed.backups.finish(begun, "offsite", Progress())
    assert [view.volume for view in views] == ["db"]
    assert problems == ["web: a snapshot was replaced meanwhile; repeat the command"]
    with pytest.raises(Conflict, match="replaced meanwhile"):
        await backed.backups.finish(begun[1:], "offsite", Progress())


async def test_a_volume_that_is_renamed_while_a_backup_waits_keeps_no_other_from_its_own(
    backed: Engine,
) -> None:
    """What is locked is locked by name; nothing stays so."""
    await backed.volumes.create("web", Options())
    begun = [(await backed.backups.begin(n, "offsite", Progress()))[0] for n in ("db", "web")]
    async with backed.operations.locked("db"):
        finished = asyncio.create_task(backed.backups.finish(begun, "offsite", Progress()))
        while backed.operations.locks._locks["db"][1] < 2:
            await asyncio.sleep(0.001)
        await backed.volumes.rename("web", "other")
    views, problems = await finished
    assert ([view.volume for view in views], len(problems)) == (["db"], 1)
    assert not backed.operations.locks.busy("web")


async def test_with_a_repository_goes_what_its_next_backups_are_compared_with(
    backed: Engine,
) -> None:
    await _back_up(backed, "db")
    await backed.backups.remove_repository("offsite")
    assert backed.entries.get("db").snapshots == {}


async def test_a_start_drops_what_belongs_to_no_repository(backed: Engine) -> None:
    await _back_up(backed, "db")
    await backed.repositories.remove("offsite")
    await backed.backups.bases.sweep()
    assert backed.entries.get("db").snapshots == {}


async def test_a_repository_of_which_the_record_is_gone_is_not_known(
    backed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the disk failed then: memory tells what the next start finds."""

    def fails(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(files, "fsync_dir", fails)
    with pytest.raises(Unsettled):
        await backed.backups.remove_repository("offsite")
    assert backed.repositories.views() == []


async def test_backups_are_listed_and_deleted(backed: Engine) -> None:
    (first,) = await _back_up(backed, "db")
    (second,) = await _back_up(backed, "db")
    views = await backed.backups.views("db", "", Progress())
    assert {view.url for view in views} == {first.url, second.url}
    await backed.backups.delete([first.url], "", Progress())
    assert [v.id for v in await backed.backups.views("", "", Progress())] == [second.id]
    with pytest.raises(NotFound, match=f"no backup {first.id[:16]} in repository offsite"):
        await backed.backups.delete([first.url], "", Progress())
    assert await backed.backups.verify("", 100, Progress()) == []


@pytest.mark.parametrize(("repository", "where"), [("", "any repository"), ("offsite", "offsite")])
async def test_a_name_that_is_no_volume_s_is_told_from_one_without_backups(
    backed: Engine, repository: str, where: str
) -> None:
    """A typing error would look like a backup that is missing; what is gone has its backups."""
    with pytest.raises(NotFound, match=f"no such volume: bd, and no backup of one in {where}"):
        await backed.backups.views("bd", repository, Progress())
    assert await backed.backups.views("db", repository, Progress()) == []
    await _back_up(backed, "db")
    await backed.volumes.remove("db")
    assert len(await backed.backups.views("db", repository, Progress())) == 1


async def test_a_damaged_repository_is_told(backed: Engine, tmp_path: Path) -> None:
    """A pack that lost a byte, and one that is gone."""
    await _back_up(backed, "db")
    one, other = sorted((tmp_path / "repository/data").glob("*/*"))
    one.chmod(0o600)
    os.truncate(one, one.stat().st_size - 1)
    other.unlink()
    progress = Progress()
    problems = await backed.backups.verify("offsite", 0, progress)
    assert (progress.total, progress.note) == (0, "0 of 1 looked at"), "packs are no bytes"
    assert any(one.name in problem for problem in problems)
    assert any(f"{other.name}: the pack is in an index, and is not there" in p for p in problems)


async def test_a_repository_is_known_after_a_restart(backed: Engine) -> None:
    """And its password is read again where the user has it."""
    (backup,) = await _back_up(backed, "db")
    after = backed.restarted()
    assert [view.name for view in after.repositories.views()] == ["offsite"]
    assert [v.id for v in await after.backups.views("db", "", Progress())] == [backup.id]
    await after.repositories.remove("offsite")
    assert after.restarted().repositories.views() == []


async def test_a_password_that_only_the_command_sees_is_kept(
    engine: Engine, tmp_path: Path
) -> None:
    """Readable by root alone, and told in no view."""
    await _add(engine, tmp_path, Secret("/nowhere/password", CANARY))
    after = engine.restarted()
    (view,) = after.repositories.views()
    assert view.password_file == ""
    assert CANARY not in repr(view)
    (kept,) = after.store.root.glob("repositories/*.password")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert await after.backups.views("", "offsite", Progress()) == []


@pytest.mark.parametrize("text", ["", "another"])
async def test_a_wrong_password_opens_nothing(backed: Engine, tmp_path: Path, text: str) -> None:
    """And is in no error."""
    file = tmp_path / "other"
    file.write_text(text)
    with pytest.raises((Denied, Invalid)) as caught:
        await _add(backed, tmp_path, Secret(str(file)), "again")
    assert "another" not in str(caught.value).replace(str(file), "")
    assert [view.name for view in backed.repositories.views()] == ["offsite"]


async def test_a_password_file_is_read_as_restic_reads_it(
    engine: Engine, tmp_path: Path, password: Secret
) -> None:
    """Else the same file would open another repository there than here."""
    await _add(engine, tmp_path, password)
    file = tmp_path / "other"
    file.write_text(f"\ufeff {CANARY} \r\n\n")
    await _add(engine, tmp_path, Secret(str(file)), "again")
    assert await engine.backups.views("", "again", Progress()) == []


@pytest.mark.parametrize(
    ("asked", "here", "size"),
    [
        (Options(), {"loopback", "directory"}, GIB),
        (Options(backend="directory"), {"loopback", "directory"}, None),
        (Options(backend="directory", size=5 * GIB), {"loopback", "directory"}, 5 * GIB),
        (Options(), {"directory"}, GIB),
    ],
)
def test_a_size_is_kept_unless_another_backend_is_chosen(
    asked: Options, here: set[str], size: int | None
) -> None:
    """As by a clone: a folder may be unable to have one."""
    described = {"backend": "loopback", "size": "1GiB", "fs": "xfs", "uid": "5", "newer": "x"}
    wanted = as_before(described, asked, here)
    assert (wanted.size, wanted.uid) == (size, 5)
    assert wanted.fs == ("xfs" if here > {"directory"} and not asked.backend else None)


@pytest.mark.parametrize(
    "options", [Options(path="/srv"), Options(source="web"), Options(backup="offsite")]
)
async def test_a_restore_fills_a_volume_of_its_own(engine: Engine, options: Options) -> None:
    """Not a folder of the host, nor a clone."""
    with pytest.raises(Invalid, match="takes none of from, path, per_mount, backup and schedule"):
        await engine.restores.restore("db", "", "other", options, Progress())


async def test_a_folder_of_the_host_is_not_filled(engine: Engine) -> None:
    """What is in it is nobody's to overwrite."""
    with pytest.raises(Invalid, match="stays as it is"):
        await engine.volumes.create("new", Options(backup="offsite", path="/srv"))


async def test_a_location_bears_no_password(engine: Engine, password: Secret) -> None:
    """It stands in lists, logs and URLs; and the error does not repeat it."""
    location = f"rest:https://me:{CANARY}@host/path"
    with pytest.raises(Invalid, match="RESTIC_REST_PASSWORD") as caught:
        await engine.repositories.add("rest", location, password, Secret(), Progress())
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("location", ["here", "ftp://host/path", "s3:"])
async def test_what_is_no_place_is_refused(engine: Engine, password: Secret, location: str) -> None:
    with pytest.raises(Invalid):
        await engine.repositories.add("a", location, password, Secret(), Progress())


async def test_a_repository_is_named_by_its_place_too(
    engine: Engine, tmp_path: Path, password: Secret
) -> None:
    """In restic's spelling or in Convoy's; which is no other repository when it is added again."""
    await _add(engine, tmp_path, password)
    for place in (f"{tmp_path}/repository", f"vfs://{tmp_path}/repository/"):
        assert engine.repositories.get(place).name == "offsite"
    location = f"vfs://{tmp_path}/repository"
    view = await engine.repositories.add("offsite", location, password, Secret(), Progress())
    assert view.location == f"{tmp_path}/repository"
    with pytest.raises(NotFound, match="add NAME /elsewhere --password-file"):
        engine.repositories.get("vfs:///elsewhere")


async def test_what_is_not_there_is_told_with_what_is(backed: Engine) -> None:
    with pytest.raises(NotFound, match=r"no such repository: onsite \(known: offsite\)"):
        await backed.backups.create(["db"], "onsite", Progress())
    with pytest.raises(NotFound, match="no such volume: web"):
        await _back_up(backed, "web")
    (backup,) = await _back_up(backed, "db")
    with pytest.raises(Invalid, match="volume db exists already, and stays what it is"):
        await backed.restores.restore(backup.url, "", "", Options(size=4096), Progress())
    with pytest.raises(NotFound, match="no backup of a volume web in offsite: `convoy"):
        await backed.restores.restore("web", "", "", Options(), Progress())
    for place in ("vfs:///elsewhere", "s3://bucket/x"):
        with pytest.raises(Invalid, match="is no URL of a backup, such as s3:https"):
            await backed.backups.find(place, "", Progress())
    with pytest.raises(NotFound, match="no repository is known at /elsewhere"):
        await backed.backups.find(
            "/elsewhere?backup=backup-0123456789abcdef&volume=db", "", Progress()
        )


async def test_a_backup_that_is_cancelled_leaves_nothing(backed: Engine) -> None:
    """Neither a snapshot nor a lock."""
    progress = Progress()
    progress.cancelled = "enough"
    with pytest.raises(Cancelled):
        await backed.backups.create(["db"], "", progress)
    await backed.settled()
    assert backed.entries.get("db").snapshots == {}
    assert await backed.backups.views("", "", Progress()) == []


async def test_a_volume_whose_backup_fails_keeps_no_snapshot(
    backed: Engine, tmp_path: Path
) -> None:
    """The repository's disk has gone."""
    (tmp_path / "repository/config").unlink()
    with pytest.raises(ConvoyError, match="repository offsite: "):
        await _back_up(backed, "db")
    assert backed.entries.get("db").snapshots == {}


async def test_what_a_policy_does_not_keep_is_forgotten(backed: Engine) -> None:
    """Of a volume, or of all; a dry run deletes nothing."""
    made = []
    for _ in range(3):
        made += await _back_up(backed, "db")
        backed.pass_time(1)
    await backed.volumes.create("web", Options())
    (other,) = await _back_up(backed, "web")
    forget = partial(backed.backups.forget, progress=Progress())
    gone, problems = await forget("db", "", "2", dry_run=True)
    assert ([view.id for view in gone], problems) == ([made[0].id], [])
    assert len(await backed.backups.views("", "", Progress())) == 4
    gone, _ = await forget("", "offsite", "1")
    assert {view.id for view in gone} == {made[0].id, made[1].id}
    left = await backed.backups.views("", "", Progress())
    assert {view.id for view in left} == {made[2].id, other.id}
    assert await forget("bd", "", "1") == ([], ["bd: host here has no backup of it"])
    with pytest.raises(Invalid, match="'often' is not what to keep, such as 24h"):
        await forget("db", "", "often")


async def test_nothing_is_forgotten_while_a_clock_is_wrong(backed: Engine) -> None:
    """A backup of the future would push out all others; of other volumes what has to go goes."""
    await _back_up(backed, "db")
    backed.pass_time(100 * 365 * DAY)
    await _back_up(backed, "db")
    gone, (problem,) = await backed.backups.forget("", "", "1", Progress())
    assert gone == []
    assert problem.startswith("db: it has a backup from the future, so a clock was or is wrong")


async def test_who_listens_is_told_how_a_backup_by_hand_ended(
    backed: Engine, tmp_path: Path
) -> None:
    """That it failed, and that it works again; not what a user cancelled."""
    heard: list[FinishedRun] = []

    async def listener(run: FinishedRun) -> None:
        heard.append(run)

    backed.announcing.listen(listener)
    (tmp_path / "repository/config").rename(tmp_path / "config")
    for _ in range(2):
        with pytest.raises(ConvoyError):
            await _back_up(backed, "db")
    (tmp_path / "config").rename(tmp_path / "repository/config")
    cancelled = Progress()
    cancelled.cancelled = "enough"
    with pytest.raises(Cancelled):
        await backed.backups.create(["db"], "", cancelled)
    (backup,) = await _back_up(backed, "db")
    await backed.settled()
    assert [(run.failures, run.failed_before) for run in heard] == [(1, 0), (2, 1), (0, 2)]
    assert heard[0].error.startswith("repository offsite: ")
    assert (heard[2].volume, heard[2].repository, heard[2].error) == ("db", "offsite", "")
    assert heard[2].what == backup.url


async def test_what_other_hosts_have_backed_up_is_theirs(
    backed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        await _back_up(backed, "db")
        backed.pass_time(1)
    monkeypatch.setattr(backed.backups._archiving._sessions, "host", "elsewhere")
    assert await backed.backups.forget("", "", "1", Progress()) == ([], [])


# A session in which what archives a folder does this instead.
_SESSION = """
import os, signal, sys, time
from convoy_py.session import backing_up
from convoy_py.session.__main__ import main
archive = backing_up.archive
backing_up.archive = lambda *_, **__: {instead}
sys.exit(main())
"""


def _locks(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "repository/locks").iterdir())


@pytest.fixture
def sessions_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has sessions do something else where they would read a volume."""

    def instead(code: str) -> None:
        program = _SESSION.format(instead=code)
        monkeypatch.setattr(sessions, "PROGRAM", (sys.executable, "-c", program))

    return instead


async def _cut_off(
    engine: Engine, sessions_that: Callable[[str], None], patches: pytest.MonkeyPatch
) -> None:
    """A backup whose session is killed; those to come are as ever."""
    sessions_that("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(OperationFailed, match="repository offsite: its session failed"):
        await _back_up(engine, "db")
    patches.undo()


async def test_what_a_killed_session_left_the_next_one_takes_away(
    backed: Engine,
    tmp_path: Path,
    sessions_that: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its lock, which for half an hour would keep everybody from forgetting and pruning."""
    await _cut_off(backed, sessions_that, monkeypatch)
    assert len(_locks(tmp_path)) == 1
    assert backed.entries.get("db").snapshots == {}
    after = backed.restarted()
    (backup,) = await _back_up(after, "db")
    assert _locks(tmp_path) == []
    await after.backups.delete([backup.url], "", Progress())


async def test_the_next_daemon_takes_away_what_a_session_left(
    backed: Engine,
    tmp_path: Path,
    sessions_that: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At its start, for other hosts wait for that, too; where nothing is left nothing is done."""
    await _cut_off(backed, sessions_that, monkeypatch)
    after = backed.restarted()
    assert len(_locks(tmp_path)) == 1
    await after.sweep()
    await after.settled()
    assert _locks(tmp_path) == []
    again = after.restarted()
    await again.sweep()
    assert again.jobs.list() == []


async def test_a_cancelled_session_gives_its_lock_back(
    backed: Engine, tmp_path: Path, sessions_that: Callable[[str], None]
) -> None:
    sessions_that("time.sleep(600)")
    progress = Progress()
    backup = asyncio.create_task(backed.backups.create(["db"], "", progress))
    while not _locks(tmp_path):
        await asyncio.sleep(0.01)
    progress.cancelled = "enough"
    with pytest.raises(Cancelled, match="enough"):
        await backup
    assert _locks(tmp_path) == []


async def test_one_volume_that_fails_keeps_no_other_from_its_backup(
    backed: Engine, sessions_that: Callable[[str], None]
) -> None:
    """It is told with those that were backed up."""
    await backed.volumes.create("web", Options())
    sessions_that(
        "archive(*_, **__) if 'db' in str(_[0]) else (_ for _ in ()).throw(OSError(5, 'bad disk'))"
    )
    with pytest.raises(
        OperationFailed, match=r"not backed up: web: .*bad disk.* \(backed up: db\)"
    ):
        await _back_up(backed, "db", "web")
    (view,) = await backed.backups.views("", "", Progress())
    assert view.volume == "db"


async def test_what_a_schedule_keeps_decides_of_its_own_backups(backed: Engine) -> None:
    """That which somebody made by hand stays, and counts for nothing."""
    made = []
    for _ in range(3):
        name, _ = await backed.backups.begin("db", "offsite", Progress())
        (view,), _ = await backed.backups.finish([name], "offsite", Progress())
        made.append(view.id)
        backed.pass_time(1)
    (by_hand,) = await _back_up(backed, "db")
    assert await backed.backups.forget_scheduled(["db"], "offsite", "1", Progress()) == []
    left = await backed.backups.views("db", "", Progress())
    assert {view.id for view in left} == {made[-1], by_hand.id}
    assert len(backed.entries.get("db").snapshots) == 1, "the base of the next"
    await backed.backups.forget_scheduled(["web"], "offsite", "1", Progress())
    assert len(await backed.backups.views("", "", Progress())) == 2
