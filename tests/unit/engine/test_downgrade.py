"""What a newer daemon wrote is told, and stays as it is for the next one that knows it."""

import json
import logging
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import Corrupt
from convoy_py.models.volume import Options, State
from convoy_py.state.passed import PASSED
from tests.fakes_engine import DAY, Engine

NEWER = json.dumps({"format": 10, "told": "in a way that nobody knows"})
TOLD = r"its format 10 is newer than \d, the newest known"


def _written(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(NEWER)
    return path


def _logged(caplog: pytest.LogCaptureFixture, path: Path) -> int:
    """How often a file was told to be of a newer daemon."""
    said = [f"{record.message} {vars(record).get('convoy_fields')}" for record in caplog.records]
    return sum(str(path) in line and "its format 10 is newer than" in line for line in said)


@pytest.mark.parametrize(
    "file",
    [
        "root/volumes/db/volume.json",
        "root/volumes/db/restoring.json",
        f"root/{PASSED}",
        "root/releasing/convoy-release-1.json",
        "run/references/db.json",
        "run/frozen/0123.json",
    ],
)
async def test_it_stays_and_is_told_once(
    engine: Engine, caplog: pytest.LogCaptureFixture, file: str
) -> None:
    """In the log of each start, whatever is done meanwhile."""
    await engine.volumes.create("db", Options())
    path = _written(engine.folder / file)
    with caplog.at_level(logging.WARNING):
        after = engine.restarted()
        after.recovery.sweep()
        await after.copies.sweep(after.recovery.half_restored)
        for _ in range(2):
            after.pass_time(DAY)
            after.host.trash.passed.look()
            await after.releases.sweep()
            await after.janitor.look()
    assert path.read_text() == NEWER
    assert _logged(caplog, path) == 1


async def test_a_volume_or_a_snapshot_is_broken_meanwhile(engine: Engine) -> None:
    """With the reason; the others are not."""
    for name in ("db", "web"):
        await engine.volumes.create(name, Options())
        await engine.snapshot(name, "s")
    snapshot = _written(engine.store.home("web") / "snapshots/s/snapshot.json")
    volume = _written(engine.store.home("db") / "volume.json")
    after = engine.restarted()
    view = after.volumes.get("db")
    assert view.state is State.BROKEN
    assert f"{volume}: its format 10 is newer than 9, the newest known" in view.reason
    (broken,) = after.volumes.get("web").snapshots
    assert f"{snapshot}: its format 10 is newer than 8, the newest known" in broken.reason
    assert after.volumes.get("web").state is State.READY
    assert volume.read_text() == snapshot.read_text() == NEWER


async def test_what_is_in_the_trash_does_not_age(keeping: Engine) -> None:
    """Nor is it given back by half."""
    await keeping.volumes.create("db", Options())
    await keeping.volumes.remove("db")
    (home,) = keeping.store.trash.glob("db.*")
    mark = _written(home / "removed.json")
    after = keeping.restarted()
    after.pass_time(10 * DAY)
    await after.trash.expire()
    with pytest.raises(Corrupt, match=f"{mark}: {TOLD}"):
        await after.trash.restore("db")
    assert [view.name for view in after.trash.views()] == ["db"]
    assert mark.read_text() == NEWER


async def test_no_file_is_restored_over_another_restore(engine: Engine) -> None:
    """What that one left half done in the volume is still to be taken away."""
    await engine.volumes.create("db", Options())
    await engine.snapshot("db", "s")
    note = _written(engine.store.home("db") / "restoring.json")
    with pytest.raises(Corrupt, match=f"volume db: {note}: {TOLD}"):
        await engine.copies.restore_file("db", "s", "file", Progress())
    assert note.read_text() == NEWER


@pytest.mark.parametrize("file", ["kept.json", "volume.json"])
async def test_data_is_not_adopted_over_its_record(engine: Engine, file: str) -> None:
    """Which says more of it than can be asked for."""
    await engine.volumes.create("db", Options())
    await engine.volumes.remove("db", keep_data=True)
    record = _written(engine.store.home("db") / file)
    with pytest.raises(Corrupt, match=f"volume db: {record}: {TOLD}"):
        await engine.volumes.create("db", Options(), adopt=True)
    assert record.read_text() == NEWER


async def test_who_holds_a_volume_by_now_is_recorded(engine: Engine) -> None:
    """That alone is true then; who else does is looked up in the mount namespaces."""
    await engine.volumes.create("db", Options())
    path = _written(engine.references.folder / "db.json")
    after = engine.restarted()
    await after.uses.mount("db", "container", "1:1")
    assert after.counted("db") == 1
    assert path.read_text() != NEWER
