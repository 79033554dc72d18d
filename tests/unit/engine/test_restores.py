"""Volumes that begin as backups are there for Docker before their data is."""

import errno
import re
from pathlib import Path
from threading import Event as ThreadEvent
from typing import Any

import pytest

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps.backups import Archiving
from convoy_py.engine.steps.sessions import Sessions
from convoy_py.errors import (
    BrokenVolume,
    ConvoyError,
    Invalid,
    NotFound,
    OperationFailed,
    OptionsDiffer,
    StillRestoring,
    Unavailable,
    VolumeInUse,
)
from convoy_py.linux import files
from convoy_py.models.backup import BackupView
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.session import Done
from convoy_py.models.volume import Options, State
from tests.fakes_engine import Engine, holder
from tests.harness import PATIENCE

GIB = 2**30


async def _back_up(engine: Engine) -> list[BackupView]:
    return await engine.backups.create(["db"], "", Progress())


async def test_it_is_a_volume_while_it_is_restored_and_a_mount_waits(
    backed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Get and List tell it; whoever else wants the name is refused."""
    restore, go_on = Archiving.restore, ThreadEvent()

    def held(*what: Any) -> Entry:
        assert go_on.wait(PATIENCE)
        return restore(*what)

    monkeypatch.setattr(Archiving, "restore", held)
    await _back_up(backed)
    await backed.volumes.remove("db")
    asked = Options(backup="offsite")
    await backed.volumes.create("db", asked)
    await backed.volumes.create("db", asked)
    view = backed.volumes.get("db")
    assert (view.state, view.reason) == (State.RESTORING, "")
    assert "its restore from" in view.doing
    assert backed.volumes.listing() == [("db", "")]
    with pytest.raises(OptionsDiffer, match="size"):
        await backed.volumes.create("db", Options(backup="offsite", size=GIB))
    for refused in (
        backed.volumes.rename("db", "other"),
        backed.volumes.protect("db", on=True),
        backed.restores.restore("db", "offsite", "", Options(), Progress()),
    ):
        with pytest.raises(StillRestoring, match="volume db is still being restored"):
            await refused
    go_on.set()
    await backed.uses.mount("db", "container", "epoch")
    assert backed.volumes.get("db").state is State.MOUNTED
    assert backed.read("db") == "one"


async def test_what_the_newest_says_of_its_volume_needs_no_session_of_its_own(
    backed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session takes longer than a small restore; of an older backup it is asked, and right."""
    older = await _back_up(backed)
    backed.write("db", "two")
    backed.pass_time(1)
    await _back_up(backed)
    tasks: list[str] = []
    run_with = Sessions.run_with

    def recorded(sessions: Sessions, *args: Any) -> Done:
        tasks.append(args[-2].verb)
        return run_with(sessions, *args)

    monkeypatch.setattr(Sessions, "run_with", recorded)
    await backed.restores.restore("db", "offsite", "new", Options(), Progress())
    assert (tasks, backed.read("new")) == (["list", "restore"], "two")
    tasks.clear()
    at = older[0].id
    await backed.restores.restore("db", "offsite", "old", Options(), Progress(), at=at)
    assert (tasks, backed.read("old")) == (["list", "describe", "restore"], "one")


async def test_a_mount_that_waited_long_enough_is_told_how_far_it_is(
    backed: Engine,
) -> None:
    await _back_up(backed)
    await backed.volumes.remove("db")
    backed.uses._patience = 0
    await backed.volumes.create("db", Options(backup="offsite"))
    with pytest.raises(StillRestoring, match=r"db is being restored from .*; come back then"):
        await backed.uses.mount("db", "container", "epoch")
    await backed.settled()
    assert await backed.uses.mount("db", "container", "epoch")


async def test_a_restore_that_was_cut_off_goes_on_at_the_next_start(backed: Engine) -> None:
    """Whatever was built is thrown away; the volume is listed all the time."""
    await _back_up(backed)
    await backed.volumes.remove("db")
    await backed.volumes.create("db", Options(backup="offsite"))
    backed.jobs.stop()
    await backed.settled()
    assert backed.volumes.get("db").state is State.BROKEN
    again = backed.restarted()
    assert again.volumes.get("db").state is State.RESTORING
    again.restores.resume()
    await again.uses.mount("db", "container", "epoch")
    assert again.read("db") == "one"
    assert list(again.host.restore_store.folder.iterdir()) == []


async def test_a_restore_that_failed_is_told_and_begins_anew_with_a_mount(
    backed: Engine, tmp_path: Path
) -> None:
    """Docker was told of the volume: so it does not become an empty one, nor vanish."""
    await _back_up(backed)
    await backed.volumes.remove("db")
    await backed.volumes.create("db", Options(backup="offsite"))
    packs, away = tmp_path / "repository/data", tmp_path / "away"
    packs.rename(away)
    await backed.settled()
    view = backed.volumes.get("db")
    assert view.state is State.BROKEN
    assert re.search("its restore from .* failed: .* the next mount begins it again", view.reason)
    with pytest.raises(Unavailable, match="failed"):
        await backed.uses.mount("db", "container", "epoch")
    away.rename(packs)
    await backed.uses.mount("db", "container", "epoch")
    assert backed.read("db") == "one"


async def test_the_daemon_tries_again_by_itself(backed: Engine, tmp_path: Path) -> None:
    """And what has come back is measured as any other, though it was looked at before."""
    await _back_up(backed)
    await backed.volumes.remove("db")
    await backed.volumes.create("db", Options(backup="offsite"))
    packs, away = tmp_path / "repository/data", tmp_path / "away"
    packs.rename(away)
    await backed.settled()
    await backed.janitor.sample()
    away.rename(packs)
    await backed.restores.resume_failed()
    await backed.settled()
    await backed.janitor.sample()
    view = backed.volumes.get("db")
    assert (view.state, view.reason) == (State.READY, "")
    assert view.usage


async def test_what_is_being_restored_can_be_removed(backed: Engine) -> None:
    """Then it is given up, and leaves nothing."""
    await _back_up(backed)
    await backed.volumes.remove("db")
    await backed.volumes.create("db", Options(backup="offsite"))
    await backed.volumes.remove("db")
    assert backed.volumes.listing() == []
    assert backed.left() == []
    assert list(backed.host.restore_store.folder.iterdir()) == []


@pytest.mark.parametrize("change", [("{", "{{"), ('"offsite"', "7"), ('"ext4"', '"none"')])
async def test_what_cannot_be_restored_by_its_note_can_be_removed(
    backed: Engine, change: tuple[str, str]
) -> None:
    """Nothing else is there of it, and the backup stays."""
    again, note = await _noted(backed, *change)
    assert again.volumes.get("db").state is State.BROKEN
    assert "to remove the volume gives up its restore" in again.volumes.get("db").reason
    with pytest.raises(BrokenVolume):
        await again.uses.mount("db", "container", "epoch")
    await again.volumes.remove("db")
    assert again.volumes.listing() == []
    assert not note.exists()
    await again.volumes.create("db", Options(backup="offsite"))
    await again.uses.mount("db", "container", "epoch")
    assert again.read("db") == "one"


async def test_what_a_newer_daemon_noted_is_not_removed(backed: Engine) -> None:
    again, note = await _noted(backed, '"format": 1', '"format": 99')
    with pytest.raises(BrokenVolume):
        await again.volumes.remove("db")
    assert note.exists()


async def _noted(engine: Engine, old: str, new: str) -> tuple[Engine, Path]:
    """The next daemon after a restore of `db` was cut off, whose note was changed; and the note."""
    await _back_up(engine)
    await engine.volumes.remove("db")
    await engine.volumes.create("db", Options(backup="offsite", fs=Filesystem.EXT4, size=GIB))
    engine.jobs.stop()
    await engine.settled()
    note = engine.host.restore_store.folder / "db.json"
    text = note.read_text()
    assert old in text, text
    note.write_text(text.replace(old, new))
    return engine.restarted(), note


async def test_a_restore_that_fails_before_the_answer_leaves_nothing(
    backed: Engine, tmp_path: Path
) -> None:
    (backup,) = await _back_up(backed)
    (tmp_path / "repository/data").rename(tmp_path / "away")
    (packs := tmp_path / "repository/index").rename(packs.with_name("indexes"))
    with pytest.raises(ConvoyError):
        await backed.volumes.create("web", Options(backup=backup.url), patience=60)
    assert [name for name, _ in backed.volumes.listing()] == ["db"]


@pytest.mark.parametrize("known", [True, False])
async def test_what_somebody_was_told_of_stays_whoever_waits_for_it(
    backed: Engine, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Docker was; then `convoy create` asks for the same, and waits until it fails."""
    (backup,) = await _back_up(backed)
    asked = Options(backup=backup.url)

    def fails(*_: object) -> None:
        raise OperationFailed("bad disk")

    monkeypatch.setattr(backed.restores._archiving, "restore", fails)
    if known:
        await backed.volumes.create("web", asked)
    with pytest.raises(OperationFailed, match="bad disk"):
        await backed.volumes.create("web", asked, patience=60)
    assert [name for name, _ in backed.volumes.listing()] == ["db", *["web"] * known]


async def test_a_volume_that_is_there_though_its_disk_failed_is_that_volume(
    backed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name was not synced: it is not built a second time."""
    (backup,) = await _back_up(backed)
    sync = files.fsync_dir

    def fails(folder: Path) -> None:
        if folder == backed.store.volumes:
            raise OSError(errno.EIO, "Input/output error", str(folder))
        sync(folder)

    await backed.volumes.create("web", Options(backup=backup.url))
    monkeypatch.setattr(files, "fsync_dir", fails)
    await backed.settled()
    assert await backed.uses.mount("web", "container", "epoch")
    assert backed.read("web") == "one"


async def test_the_note_of_a_restore_goes_before_another_can_get_the_name(
    backed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For that one may be restored, too, and needs its own."""
    (backup,) = await _back_up(backed)
    busy: list[bool] = []
    forget = backed.host.restore_store.forget

    def looked(name: str) -> None:
        busy.append(backed.operations.locks.busy(name))
        forget(name)

    monkeypatch.setattr(backed.host.restore_store, "forget", looked)
    await backed.volumes.create("web", Options(backup=backup.url))
    await backed.settled()
    assert busy == [True]


async def test_who_uses_a_volume_is_told_before_its_backup_is_fetched(
    backed: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _back_up(backed)
    fetched: list[object] = []
    monkeypatch.setattr(Archiving, "restore_beside", lambda *what: fetched.append(what))
    backed.kernel.holders["db"] = [holder()]
    with pytest.raises(VolumeInUse, match="volume db is in use"):
        await backed.restores.restore("db", "offsite", "", Options(), Progress())
    assert fetched == []


async def test_one_file_comes_back_from_a_backup(backed: Engine) -> None:
    """Into the volume as it is, in use or not; the newest, or one by its id or URL."""
    (first,) = await _back_up(backed)
    backed.write("db", "two")
    backed.pass_time(1)
    await _back_up(backed)
    backed.write("db", "three")
    await backed.uses.mount("db", "container", "epoch")
    restore = backed.copies.restore_file_of_backup
    for reference, content in (("latest", "two"), (first.id[:8], "one"), (first.url, "one")):
        backed.write("db", "three")
        assert await restore("db", reference, "", "/file", Progress()) == len(content)
        assert backed.read("db") == content
    assert backed.left() == []


async def test_what_a_backup_does_not_have_changes_nothing(backed: Engine) -> None:
    (backup,) = await _back_up(backed)
    backed.write("db", "two")
    await backed.volumes.create("web", Options())
    restore = backed.copies.restore_file_of_backup
    with pytest.raises(NotFound, match="the snapshot has no nosuch"):
        await restore("db", "latest", "offsite", "nosuch", Progress())
    with pytest.raises(Invalid, match="is of the volume db, not of web"):
        await restore("web", backup.id[:8], "", "file", Progress())
    with pytest.raises(NotFound, match="has no backup of a volume web"):
        await restore("web", "latest", "", "file", Progress())
    with pytest.raises(Invalid, match="below the volume's root"):
        await restore("db", "latest", "", "../file", Progress())
    assert backed.read("db") == "two"
    assert backed.left() == []
