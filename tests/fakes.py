"""Stand-ins for the layer below the one under test: the engine over a dict."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from convoy_py.engine.running.jobs import Jobs, Progress
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.running.threads import Blocking
from convoy_py.engine.steps.parts import BY_HAND, Purpose
from convoy_py.engine.verbs import Verbs
from convoy_py.engine.verbs.adoptions import Adoptions
from convoy_py.engine.verbs.copies import Copies, Differences
from convoy_py.engine.verbs.daemon import Daemon
from convoy_py.engine.verbs.releases import Releases
from convoy_py.engine.verbs.room import Room
from convoy_py.engine.verbs.snapshots import Snapshots
from convoy_py.engine.verbs.space import SpaceVerbs
from convoy_py.engine.verbs.takeovers import Takeovers
from convoy_py.engine.verbs.trash import TrashBin
from convoy_py.engine.verbs.uses import Uses
from convoy_py.engine.verbs.volumes import Volumes
from convoy_py.errors import (
    NotFound,
    OptionsDiffer,
    SnapshotNotFound,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.hooks import NO_HOOKS, Hooks
from convoy_py.models.names import AT, joined, volume_of
from convoy_py.models.snapshot import Consistency, Plan, SnapshotView, Way
from convoy_py.models.takeover import Takeover
from convoy_py.models.trash import RemovedView
from convoy_py.models.volume import Options, Spec, State, Usage, View
from convoy_py.wire.copies import AdoptedVolume, ReleasedVolume
from convoy_py.wire.snapshots import RolledBack
from convoy_py.wire.space import Space, VolumeSpace
from tests.fakes_backups import (
    FakeBackups,
    FakeProofs,
    FakeRepositories,
    FakeRestores,
    FakeSchedules,
)

NOW = 1_767_323_045.0  # 2026-01-02T03:04:05Z
CREATED = datetime.fromtimestamp(NOW, UTC)


class FakeVolumes(Volumes, Uses, Daemon):
    """Volumes, their uses and the daemon over a dict.

    `failures` maps a verb's name to what it raises; while `gate` is cleared, neither mount nor what
    runs as a job returns; `opened` cleared is an engine that still reads its records. A snapshot is
    a volume of its full name, and in its volume's view.
    """

    def __init__(self) -> None:
        self.known: dict[str, View] = {}
        self.holds: list[tuple[str, str, str]] = []  # (volume, reference, epoch)
        self.released: list[tuple[str, str, str]] = []
        self.asked: dict[str, Options] = {}
        self.adopted: list[str] = []
        self.made_by_engine: set[str] = set()
        self.data_kept: list[str] = []
        self.problems: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.opened = asyncio.Event()
        self.opened.set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()  # something waits at the gate

    def add(self, name: str, *, spec: Spec | None = None, usage: Usage | None = None) -> None:
        self.known[name] = View(
            name=name,
            state=State.READY,
            backend="loopback",
            created=CREATED,
            mountpoint="",
            references=0,
            spec=spec or Spec(backend="loopback", size=2**30, fs=Filesystem.EXT4, sparse=True),
            usage=usage,
        )

    def break_(self, name: str, reason: str) -> None:
        """Make of a volume one whose record cannot be read."""
        lost = {"state": State.BROKEN, "reason": reason, "spec": None, "created": None}
        self.known[name] = self.known[name].model_copy(update=lost)

    def add_snapshot(self, volume: str, name: str, *, way: Way = Way.REFLINK) -> SnapshotView:
        taken = SnapshotView(
            backend="directory",
            volume=volume,
            name=name,
            created=CREATED,
            way=way,
            consistency=Consistency.FROZEN,
            size=2**30,
        )
        self.add(joined(volume, name))
        self._change(volume, snapshots=(*self.known[volume].snapshots, taken))
        return taken

    def drop_snapshot(self, volume: str, name: str) -> None:
        left = tuple(view for view in self.known[volume].snapshots if view.name != name)
        self._change(volume, snapshots=left)
        del self.known[joined(volume, name)]

    def _change(self, name: str, **changes: object) -> View:
        self.known[name] = self.known[name].model_copy(update=changes)
        return self.known[name]

    def fail(self, verb: str) -> None:
        if verb in self.failures:
            raise self.failures[verb]

    async def pass_gate(self) -> None:
        self.entered.set()
        await self.gate.wait()

    async def ready(self) -> None:
        await self.opened.wait()

    async def create(
        self,
        name: str,
        options: Options,
        *,
        adopt: bool = False,
        patience: float = 0.0,
        by_engine: bool = False,
    ) -> None:
        self.fail("create")
        if name in self.known and AT in name:
            return
        if name in self.known:
            if self.asked.get(name) != options:
                raise OptionsDiffer(name, {"size": ("1GiB", "2GiB")})
            return
        self.add(name)
        self.asked[name] = options
        if by_engine:
            self.made_by_engine.add(name)
        if adopt:
            self.adopted.append(name)

    async def remove(self, name: str, *, keep_data: bool = False, to_trash: bool = True) -> None:
        self.fail("remove")
        self.get(name)
        if AT in name:
            raise Unsupported(f"{name} is a snapshot; `convoy snapshot delete {name}` deletes it")
        if held := [reference for volume, reference, _ in self.holds if volume == name]:
            raise VolumeInUse(name, held)
        del self.known[name]
        if keep_data:
            self.data_kept.append(name)

    async def mount(self, name: str, reference: str, epoch: str) -> str:
        await self.pass_gate()
        self.fail("mount")
        view = self.get(name)
        self.holds.append((name, reference, epoch))
        path = f"/run/convoy/mounts/{name}/data"
        count = view.references + 1
        self._change(name, state=State.MOUNTED, mountpoint=path, references=count)
        return path

    async def unmount(self, name: str, reference: str) -> None:
        self.fail("unmount")
        held = [hold for hold in self.holds if hold[:2] == (name, reference)]
        if held:
            self.holds.remove(held[0])

    async def release(self, name: str, reference: str, epoch: str) -> None:
        self.released.append((name, reference, epoch))
        if (name, reference, epoch) in self.holds:
            self.holds.remove((name, reference, epoch))

    def get(self, name: str) -> View:
        self.fail("get")
        if name not in self.known:
            raise SnapshotNotFound(name) if AT in name else VolumeNotFound(name)
        return self.known[name]

    def for_engine(self, name: str) -> View:
        return self.get(name)

    async def rename(self, name: str, new: str) -> View:
        self.fail("rename")
        self.get(name)
        self.known[new] = self.known.pop(name).model_copy(update={"name": new})
        return self.known[new]

    async def protect(self, name: str, *, on: bool) -> View:
        self.get(name)
        return self._change(name, protected=on)

    def check_reach(self, name: str, pid: int) -> None:
        self.fail("reach")

    def views(self) -> list[View]:
        return [view for name, view in sorted(self.known.items()) if AT not in name]

    def listing(self) -> list[tuple[str, str]]:
        self.fail("list")
        return [(view.name, view.mountpoint) for view in self.known.values() if AT not in view.name]

    is_shared = False

    async def seek(self, name: str) -> None:
        """There are no other hosts."""

    def root(self) -> dict[str, str]:
        return {}

    def lingering(self) -> int:
        return 0

    def health(self) -> list[str]:
        return self.problems

    async def space(self) -> Space:
        return Space(size=100, free=60, promised=30, may_promise=90)

    async def kept(self) -> list[str]:
        return self.data_kept

    async def drivers(self) -> dict[str, dict[str, str]]:
        return {"directory": {"size": "no"}, "loopback": {"size": "yes"}}


class FakeSnapshots(Snapshots):
    """Snapshots of FakeVolumes; `asked` is what create and rollback were called with."""

    def __init__(self, volumes: FakeVolumes) -> None:
        self.volumes = volumes
        self.asked: list[object] = []
        self.planned = Plan(way=Way.REFLINK, instant=True, freezes=True)

    def views(self, volume: str = "") -> list[SnapshotView]:
        chosen = [self.volumes.get(volume)] if volume else self.volumes.views()
        return [snapshot for view in chosen for snapshot in view.snapshots]

    def inspect(self, name: str) -> SnapshotView:
        found = [v for v in self.views() if name in (v.name, joined(v.volume, v.name))]
        if len(found) != 1:
            raise NotFound(f"no such snapshot: {name}")
        return found[0]

    async def plan(self, volume: str) -> Plan:
        self.volumes.get(volume)
        return self.planned

    async def create(
        self,
        volumes: Sequence[str],
        name: str,
        progress: Progress,
        *,
        hooks: Hooks = NO_HOOKS,
        compose_project: str = "",
        container: str = "",
        purpose: Purpose = BY_HAND,
    ) -> list[SnapshotView]:
        self.asked.append((list(volumes), name, hooks.pause, compose_project, container))
        progress.total, progress.note = 100, "copying"
        await self.volumes.pass_gate()
        progress(100)
        self.volumes.fail("snapshot")
        for volume in volumes:
            self.volumes.get(volume)
        return [self.volumes.add_snapshot(volume, name or "made-up") for volume in volumes]

    async def delete(self, name: str) -> None:
        self.volumes.fail("snapshot delete")
        self.volumes.drop_snapshot(volume_of(name), name.partition(AT)[2])

    async def rollback(
        self,
        volume: str,
        snapshot: str,
        progress: Progress,
        *,
        stop_containers: bool = False,
        keep: bool = True,
    ) -> RolledBack:
        self.asked.append((volume, snapshot, stop_containers, keep))
        self.volumes.fail("rollback")
        self.volumes.get(joined(volume, snapshot))
        saved = self.volumes.add_snapshot(volume, "before")
        stopped = ["container 0123 (web)"] if stop_containers else []
        saved_as = joined(volume, saved.name) if keep else ""
        return RolledBack(snapshot=joined(volume, snapshot), saved_as=saved_as, stopped=stopped)


class FakeCopies(Copies):
    """Notes in `asked` what is to be copied; `differences` is what it finds."""

    def __init__(self, volumes: FakeVolumes) -> None:
        self.volumes = volumes
        self.asked: list[object] = []
        self.differences = Differences()

    async def clone(self, source: str, name: str, options: Options, progress: Progress) -> View:
        self.asked.append((source, name, options))
        await self.volumes.pass_gate()
        self.volumes.get(source)
        self.volumes.add(name)
        return self.volumes.get(name)

    async def diff(self, volume: str, one: str, other: str, progress: Progress) -> Differences:
        self.asked.append((volume, one, other))
        self.volumes.get(joined(volume, one))
        return self.differences

    async def restore_file(self, volume: str, snapshot: str, path: str, progress: Progress) -> int:
        self.asked.append((volume, snapshot, path))
        self.volumes.get(joined(volume, snapshot))
        return 42

    async def restore_file_of_backup(
        self, volume: str, backup: str, repository: str, path: str, progress: Progress
    ) -> int:
        self.asked.append((volume, backup, repository, path))
        self.volumes.get(volume)
        return 43

    async def convert(self, volume: str, options: Options, progress: Progress) -> View:
        self.asked.append((volume, options))
        return self.volumes.get(volume)


class FakeAdoptions(Adoptions):
    """Notes in `asked` what is to be adopted; `adoptable` is what it finds."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.adoptable: list[AdoptedVolume] = []

    async def adopt(
        self,
        docker_volume: str,
        compose_project: str,
        name: str,
        options: Options,
        progress: Progress,
        *,
        dry_run: bool = False,
        stop_containers: bool = False,
    ) -> list[AdoptedVolume]:
        self.asked.append((docker_volume, compose_project, name, options, dry_run, stop_containers))
        return self.adoptable


class FakeReleases(Releases):
    """Notes in `asked` what is to be released; `released`, or `failure`, is what it comes to."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.released: list[ReleasedVolume] = []
        self.failure: Exception | None = None

    async def release(
        self,
        volume: str,
        compose_project: str,
        docker_volume: str,
        progress: Progress,
        *,
        dry_run: bool = False,
    ) -> list[ReleasedVolume]:
        self.asked.append((volume, compose_project, docker_volume, dry_run))
        if self.failure is not None:
            raise self.failure
        return self.released


class FakeSpace(SpaceVerbs):
    """Grows FakeVolumes; `pending` is why that has to wait, `skipped` what is not trimmed."""

    def __init__(self, volumes: FakeVolumes) -> None:
        self.found: list[VolumeSpace] = []
        self.volumes = volumes
        self.asked: list[tuple[str, int, bool]] = []
        self.pending = ""
        self.skipped: dict[str, str] = {}

    async def resize(self, name: str, size: int, *, by: bool = False) -> tuple[int, str]:
        self.volumes.fail("resize")
        self.volumes.get(name)
        self.asked.append((name, size, by))
        return size, self.pending

    async def trim(self, name: str) -> int:
        self.volumes.get(name)
        return 4096

    async def trim_all(
        self, progress: Progress, *, mounted: bool = False
    ) -> tuple[dict[str, int], dict[str, str]]:
        return {view.name: 4096 for view in self.volumes.views()}, self.skipped

    async def df(self) -> list[VolumeSpace]:
        return self.found


class FakeTrash(TrashBin):
    """A trash over a list."""

    def __init__(self, volumes: FakeVolumes) -> None:
        self.volumes = volumes
        self.removed: list[RemovedView] = []
        self.told: list[str] = []

    def notes(self) -> list[str]:
        return self.told

    def views(self) -> list[RemovedView]:
        return self.removed

    async def restore(self, name: str, as_name: str = "") -> View:
        found = [view for view in self.removed if name in (view.name, view.key)]
        if not found:
            raise NotFound(f"no {name} in the trash")
        self.removed.remove(found[-1])
        self.volumes.add(as_name or found[-1].name)
        return self.volumes.get(as_name or found[-1].name)

    async def purge(self, name: str = "") -> list[str]:
        gone = [view for view in self.removed if not name or name in (view.name, view.key)]
        self.removed = [view for view in self.removed if view not in gone]
        return [view.key for view in gone]


class FakeRoom(Room):
    def __init__(self) -> None:
        pass

    async def in_trash(self) -> int:
        return 77


class FakeTakeovers(Takeovers):
    """Takes each volume from the host `dead`."""

    def __init__(self, volumes: FakeVolumes) -> None:
        self._volumes = volumes
        self.asked: list[tuple[str, bool]] = []

    async def take_over(self, name: str, *, is_off: bool, progress: Progress) -> Takeover:
        self.asked.append((name, is_off))
        view = self._volumes.get(name)
        return Takeover(view=view, losers=("dead",), lost=f"{name}@lost-dead-1")


class FakeVerbs(Verbs):
    """All verbs over one FakeVolumes; the jobs are real ones."""

    snapshots: FakeSnapshots
    copies: FakeCopies
    adoptions: FakeAdoptions
    releases: FakeReleases
    repositories: FakeRepositories
    backups: FakeBackups
    proofs: FakeProofs
    restores: FakeRestores
    takeovers: FakeTakeovers
    schedules: FakeSchedules
    space: FakeSpace
    trash: FakeTrash
    room: FakeRoom

    def __init__(self, volumes: FakeVolumes) -> None:
        self.operations = Operations(Blocking())
        super().__init__(
            daemon=volumes,
            volumes=volumes,
            uses=volumes,
            snapshots=FakeSnapshots(volumes),
            copies=FakeCopies(volumes),
            adoptions=FakeAdoptions(),
            releases=FakeReleases(),
            repositories=(repositories := FakeRepositories()),
            backups=(backups := FakeBackups(volumes, repositories)),
            proofs=FakeProofs(backups),
            restores=FakeRestores(volumes),
            schedules=FakeSchedules(volumes),
            space=FakeSpace(volumes),
            trash=FakeTrash(volumes),
            room=FakeRoom(),
            takeovers=FakeTakeovers(volumes),
            jobs=Jobs(self.operations, lambda: NOW),
        )
