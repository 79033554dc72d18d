"""A third backend is a row of the table and its own module: the verbs do all with it, unchanged."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from convoy_py.backends import BACKENDS
from convoy_py.docker_volumes import Docker
from convoy_py.engine.compose import Engine
from convoy_py.engine.memory.ledger import Ledger
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps.host import Host
from convoy_py.errors import Unsupported
from convoy_py.linux import mounts
from convoy_py.metrics import Metrics
from convoy_py.models import options
from convoy_py.models.options import parse_options
from convoy_py.models.snapshot import Consistency
from convoy_py.models.volume import State
from convoy_py.settings import Settings
from convoy_py.state.passed import PassedTime
from convoy_py.state.references import ReferenceStore
from convoy_py.state.store import Store
from tests.conformance.third import TREE, Third
from tests.fakes_engine import NOW, FakeContainers

pytestmark = pytest.mark.root


class Daemon:
    """The real engine below a folder, with the backends that its settings name; until it ends."""

    def __init__(self, folder: Path, drivers: tuple[str, ...]) -> None:
        settings = Settings(root=folder / "root", run_dir=folder / "run", drivers=drivers)
        self._store = Store(settings.root)
        self._store.open("a test")
        references = ReferenceStore(settings.run_dir, "boot")
        references.open()
        host = Host(
            self._store,
            references,
            {name: BACKENDS[name](settings) for name in settings.drivers},
            Ledger(settings.root, overcommit=1.0, reserve=0),
            settings.mounts,
            PassedTime(settings.root, "boot", time.monotonic, lambda: NOW),
        )
        docker = cast("Docker", FakeContainers(folder / "docker"))
        self.engine = Engine(settings, host, docker, Metrics("0"), time.monotonic)

    async def begun(self) -> Engine:
        await self.engine.open()
        await self.engine.sweep()
        return self.engine

    def end(self) -> None:
        """Without a word, as if it was killed: what is mounted stays."""
        self.engine.blocking.close()
        self._store.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a daemon may have the third backend on, which has a name and a row."""
    monkeypatch.setitem(cast("dict[str, object]", BACKENDS), Third.name, Third)
    monkeypatch.setitem(cast("dict[str, object]", options.BACKEND_NAMES), Third.name, ("plain",))
    yield tmp_path.resolve()
    for mount in reversed(mounts.below(tmp_path.resolve())):
        mounts.unmount(Path(mount.mountpoint))


async def test_every_verb_works_with_a_third_backend(folder: Path) -> None:
    """Made, mounted, snapshotted, cloned, taken back and removed; also after a crash."""
    daemon = Daemon(folder, ("third", "directory"))
    engine = await daemon.begun()
    asked = parse_options({"backend": "plain", "uid": "7"})
    await engine.volumes.create("db", asked)
    assert engine.volumes.get("db").backend == "third"
    seen = Path(await engine.uses.mount("db", "container", "1:1"))
    (seen / "file").write_text("old")
    (view,) = await engine.snapshots.create(["db"], "a", Progress())
    assert (view.backend, view.consistency) == ("third", Consistency.PER_FILE)
    (seen / "file").write_text("new")
    await engine.copies.clone("db@a", "copy", parse_options({}), Progress())
    await engine.copies.clone("db@a", "other", parse_options({"backend": "directory"}), Progress())
    half_made = folder / "root/volumes/.new-half"
    (half_made / TREE).mkdir(parents=True)
    daemon.end()

    engine = await (daemon := Daemon(folder, ("third", "directory"))).begun()
    assert not half_made.exists()
    db = engine.volumes.get("db")
    assert (db.state, db.references, [each.name for each in db.snapshots]) == (
        State.MOUNTED,
        1,
        ["a"],
    )
    await engine.uses.unmount("db", "container")
    assert mounts.below(folder) == []
    await engine.snapshots.rollback("db", "a", Progress())
    for name in ("db", "copy", "other"):
        seen = Path(await engine.uses.mount(name, "container", "1:1"))
        assert ((seen / "file").read_text(), seen.stat().st_uid) == ("old", 7)
        await engine.uses.unmount(name, "container")
    backends = {account.name: account.reclaimable for account in await engine.space.df()}
    assert backends == {"db": None, "copy": None, "other": None}
    for name in ("db", "copy", "other"):
        await engine.volumes.remove(name)
    assert engine.volumes.views() == []
    daemon.end()


async def test_data_that_a_third_backend_recognises_is_adopted(folder: Path) -> None:
    daemon = Daemon(folder, ("directory", "third"))
    engine = await daemon.begun()
    home = folder / "root/volumes/db"
    (home / TREE).mkdir(parents=True)
    (home / TREE / "file").write_text("kept")
    await engine.volumes.create("db", parse_options({}), adopt=True)
    assert engine.volumes.get("db").backend == "third"
    seen = Path(await engine.uses.mount("db", "container", "1:1"))
    assert (seen / "file").read_text() == "kept"
    await engine.uses.unmount("db", "container")
    daemon.end()


async def test_what_a_third_backend_does_not_take_is_refused(folder: Path) -> None:
    """Nothing of it had to be written for that."""
    daemon = Daemon(folder, ("third", "directory"))
    engine = await daemon.begun()
    with pytest.raises(Unsupported, match=r"^option path is for backend=directory$"):
        await engine.volumes.create("db", parse_options({"backend": "third", "path": "/srv/x"}))
    with pytest.raises(Unsupported, match=r"^option fs is not for backend=third \(which takes uid"):
        await engine.volumes.create("db", parse_options({"backend": "third", "fs": "xfs"}))
    daemon.end()
