"""Any sequence of the verbs on a few volumes ends as a model of dicts says, restarts included."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    AlreadyExists,
    ConvoyError,
    NotFound,
    SnapshotNotFound,
    VolumeInUse,
    VolumeNotFound,
)
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.snapshot import SnapshotView
from convoy_py.models.volume import Options
from tests.fakes_engine import DAY, Engine, FakeKernel, holder

VOLUMES = st.sampled_from(("a", "b", "c"))
SNAPSHOTS = st.sampled_from(("s", "t"))
ID = "container"
_folders = count()

OPERATIONS = (
    *("create", "write", "write", "snapshot", "snapshot", "delete", "rollback", "restart"),
    *("clone", "clone_of", "rename", "remove", "restore"),
    *("mount", "mount_of", "unmount", "unmount_of"),
)

Step = tuple[str, str, str, str]  # operation, volume, another volume, snapshot
STEPS = st.lists(
    st.tuples(
        st.sampled_from(OPERATIONS),
        VOLUMES,
        VOLUMES,
        SNAPSHOTS,
    ),
    max_size=40,
)


@dataclass
class Content:
    """What one volume is: its text, and those of its snapshots; and who has which mounted."""

    text: str = ""
    snapshots: dict[str, str] = field(default_factory=dict)
    mounted: set[str] = field(default_factory=set)  # names of snapshots, "" for the volume

    def moved(self) -> "Content":
        return Content(self.text, self.snapshots)


class Refused(Exception):
    """The model's word for an error that the engine must raise."""

    def __init__(self, kind: type[ConvoyError]) -> None:
        super().__init__(kind.__name__)
        self.kind = kind


class Model:
    """What the engine's contract says, in the fewest words. The clock stands still."""

    def __init__(self) -> None:
        self.volumes: dict[str, Content] = {}
        self.trash: list[tuple[str, Content]] = []
        self.saved = 0  # snapshots that rollbacks made

    def _volume(self, name: str) -> Content:
        if name not in self.volumes:
            raise Refused(VolumeNotFound)
        return self.volumes[name]

    def _snapshot(self, name: str, snapshot: str) -> Content:
        volume = self._volume(name)
        if snapshot not in volume.snapshots:
            raise Refused(SnapshotNotFound)
        return volume

    def _free(self, name: str, *what: str) -> Content:
        volume = self._volume(name)
        if volume.mounted & set(what or ("", *volume.snapshots)):
            raise Refused(VolumeInUse)
        return volume

    def create(self, name: str, other: str, snapshot: str) -> None:
        self.volumes.setdefault(name, Content())

    def write(self, name: str, other: str, snapshot: str) -> None:
        self._volume(name).text = f"{name}{other}{snapshot}"

    def snapshot(self, name: str, other: str, snapshot: str) -> None:
        volume = self._volume(name)
        if snapshot in volume.snapshots:
            raise Refused(AlreadyExists)
        volume.snapshots[snapshot] = volume.text

    def delete(self, name: str, other: str, snapshot: str) -> None:
        self._snapshot(name, snapshot)
        del self._free(name, snapshot).snapshots[snapshot]

    def rollback(self, name: str, other: str, snapshot: str) -> None:
        volume = self._snapshot(name, snapshot)
        self._free(name, "")
        stem, number = "before-rollback-20260102-030405", 1
        saved = stem
        while saved in volume.snapshots:
            number += 1
            saved = f"{stem}-{number}"
        volume.snapshots[saved] = volume.text
        volume.text = volume.snapshots[snapshot]

    def clone(self, name: str, other: str, snapshot: str) -> None:
        text = self._volume(name).text
        if other in self.volumes:
            raise Refused(AlreadyExists)
        self.volumes[other] = Content(text)

    def clone_of(self, name: str, other: str, snapshot: str) -> None:
        text = self._snapshot(name, snapshot).snapshots[snapshot]
        if other in self.volumes:
            raise Refused(AlreadyExists)
        self.volumes[other] = Content(text)

    def rename(self, name: str, other: str, snapshot: str) -> None:
        self._volume(name)
        if other in self.volumes:
            raise Refused(AlreadyExists)
        self.volumes[other] = self._free(name)
        del self.volumes[name]

    def remove(self, name: str, other: str, snapshot: str) -> None:
        self.trash.append((name, self._free(name)))
        del self.volumes[name]

    def restore(self, name: str, other: str, snapshot: str) -> None:
        found = [each for each in self.trash if each[0] == name]
        if not found:
            raise Refused(NotFound)
        if other in self.volumes:
            raise Refused(AlreadyExists)
        self.trash = [each for each in self.trash if each is not found[-1]]
        self.volumes[other] = found[-1][1].moved()

    def mount(self, name: str, other: str, snapshot: str) -> None:
        self._volume(name).mounted.add("")

    def mount_of(self, name: str, other: str, snapshot: str) -> None:
        self._snapshot(name, snapshot).mounted.add(snapshot)

    def unmount(self, name: str, other: str, snapshot: str) -> None:
        if name in self.volumes:
            self.volumes[name].mounted.discard("")

    def unmount_of(self, name: str, other: str, snapshot: str) -> None:
        if name in self.volumes:
            self.volumes[name].mounted.discard(snapshot)

    def restart(self, name: str, other: str, snapshot: str) -> None:
        """Nothing is lost by it."""


async def _done(engine: Engine, step: Step, options: Options) -> None:
    operation, name, other, snapshot = step
    full, none, progress = f"{name}@{snapshot}", Options(), Progress()
    engine.wall.now += 0.001  # two of one name in the trash have an order
    if operation == "write":
        engine.write(name, f"{name}{other}{snapshot}")
        return
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "create": lambda: engine.volumes.create(name, options),
        "snapshot": lambda: engine.snapshots.create([name], snapshot, progress),
        "delete": lambda: engine.snapshots.delete(full),
        "rollback": lambda: engine.snapshots.rollback(name, snapshot, progress),
        "clone": lambda: engine.copies.clone(name, other, none, progress),
        "clone_of": lambda: engine.copies.clone(full, other, none, progress),
        "rename": lambda: engine.volumes.rename(name, other),
        "remove": lambda: engine.volumes.remove(name),
        "restore": lambda: engine.trash.restore(name, other),
        "mount": lambda: _mount(engine, name),
        "mount_of": lambda: _mount(engine, full),
        "unmount": lambda: _unmount(engine, name),
        "unmount_of": lambda: _unmount(engine, full),
    }
    await calls[operation]()


async def _mount(engine: Engine, name: str) -> None:
    await _unmount(engine, name)  # the model does not count
    await engine.uses.mount(name, ID, "1:1")
    engine.kernel.holders[name] = [holder()]


async def _unmount(engine: Engine, name: str) -> None:
    await engine.uses.unmount(name, ID)
    engine.kernel.holders.pop(name, None)


def _check(engine: Engine, model: Model) -> None:
    """Memory, disk and kernel agree with the model."""
    assert {view.name for view in engine.volumes.views()} == set(model.volumes)
    mounted = set()
    for name, content in model.volumes.items():
        assert engine.read(name) == content.text
        views: tuple[SnapshotView, ...] = engine.volumes.get(name).snapshots
        assert {view.name: engine.read(f"{name}@{view.name}") for view in views} == (
            content.snapshots
        )
        mounted |= {name if each == "" else f"{name}@{each}" for each in content.mounted}
        assert engine.volumes.get(name).doing == ""
    assert {path.name for path in engine.kernel.mounted} == mounted
    assert [view.name for view in engine.trash.views()] == [name for name, _ in model.trash]
    assert engine.left() == []


async def _run(steps: list[Step], folder: Path, kernel: FakeKernel, options: Options) -> None:
    engine, model = Engine(folder, kernel, trash_keep=DAY).start(), Model()
    try:
        for step in steps:
            refusal: type[ConvoyError] | None = None
            try:
                getattr(model, step[0])(*step[1:])
            except Refused as refused:
                refusal = refused.kind
            if step[0] == "restart":
                engine = engine.restarted()
            elif refusal is None:
                await _done(engine, step, options)
            else:
                with pytest.raises(refusal):
                    await _done(engine, step, options)
            await engine.settled()
            _check(engine, model)
    finally:
        engine.killed()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS, image=st.booleans())
def test_verbs_in_any_order_do_what_the_model_says(
    steps: list[Step], image: bool, tmp_path: Path, kernel: FakeKernel
) -> None:
    """For folders and for images: every text is where it belongs, and nothing else is there."""
    kernel.mounted.clear()
    kernel.holders.clear()
    options = Options(fs=Filesystem.EXT4) if image else Options()
    asyncio.run(_run(steps, tmp_path / str(next(_folders)), kernel, options))
