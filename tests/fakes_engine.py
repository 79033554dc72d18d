"""A whole engine over a backend that only pretends: no root, no kernel, and a clock on a string."""

import shutil
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, cast

from convoy_py.backends.base import Backend, Place, Resizable, refuse_changes
from convoy_py.backends.base import Snapshots as SnapshotPower
from convoy_py.containers import Container, LocalVolume
from convoy_py.containers import Engine as ContainerEngine
from convoy_py.engine.accounts import Accounts
from convoy_py.engine.blocking import Blocking
from convoy_py.engine.copies import Copies
from convoy_py.engine.copying import Copying
from convoy_py.engine.deletions import Deletions
from convoy_py.engine.janitor import Janitor
from convoy_py.engine.jobs import Jobs
from convoy_py.engine.ledger import Ledger
from convoy_py.engine.operations import Operations
from convoy_py.engine.recovery import Recovery
from convoy_py.engine.sizes import Sizes
from convoy_py.engine.snapshots import Snapshots
from convoy_py.engine.steps import Steps
from convoy_py.engine.trash import TrashBin
from convoy_py.engine.volumes import Volumes
from convoy_py.errors import Corrupt, NotFound, OperationFailed, Unsupported
from convoy_py.linux import files
from convoy_py.linux.extents import Shares
from convoy_py.linux.holders import Census, Holder
from convoy_py.linux.mounts import Mount
from convoy_py.linux.reflink import Step
from convoy_py.metrics import Metrics
from convoy_py.models.snapshot import Plan, Way
from convoy_py.models.volume import Options, Spec, Usage
from convoy_py.state.references import ReferenceStore
from convoy_py.state.store import Store

NOW = 1_767_323_045.0  # 2026-01-02T03:04:05Z
GRACE = 60.0
_PATIENCE = 10.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """Stops a backend's method until it is opened; tells when a call has arrived."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._opened = threading.Event()

    def pass_through(self) -> None:
        self._arrived.set()
        assert self._opened.wait(_PATIENCE), "nobody opened the gate"

    def wait_for_call(self) -> None:
        assert self._arrived.wait(_PATIENCE), "nobody came to the gate"

    def open(self) -> None:
        self._opened.set()


@dataclass
class FakeKernel:
    """What outlives a daemon: mounts, who holds what, and what is slow or broken down there."""

    mounted: dict[Path, str] = field(default_factory=dict)  # mountpoint: the volume's uuid
    holders: dict[str, list[Holder]] = field(default_factory=dict)  # by volume
    busy: set[str] = field(default_factory=set)  # volumes whose unmount is not to be had
    attached: set[str] = field(default_factory=set)  # volumes whose device outlives its mount
    gates: dict[tuple[str, str], Gate] = field(default_factory=dict)  # by (method, volume)
    failures: dict[tuple[str, str], Exception] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    inside: dict[str, str] = field(default_factory=dict)  # volume: the method that runs on it
    daemons: list["Engine"] = field(default_factory=list)

    def gate(self, method: str, volume: str) -> Gate:
        return self.gates.setdefault((method, volume), Gate())

    def table(self) -> list[Mount]:
        """As mounts.table()."""
        return [
            Mount(number, 1, "0:1", "/", str(path), ("rw",), 0, 0, "fake", "fake", ())
            for number, path in enumerate(self.mounted, 2)
        ]

    def count(self, method: str, volume: str) -> int:
        return self.calls.count((method, volume))


class FakeBackend(Backend, SnapshotPower, Resizable):
    """Keeps the contract with a file per volume, and fails if the engine breaks its side of it."""

    name: ClassVar[str] = "fake"

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.instant = True
        self.delays = ""  # why growing has to wait

    def resolve(self, options: Options) -> Spec:
        if options.path is not None:
            raise Unsupported("no paths here")
        given = options.model_dump(exclude={"backend", "path"})
        return Spec(backend=self.name, **given)

    def promised(self, spec: Spec) -> int:
        return spec.size or 0

    def create(self, place: Place) -> Spec:
        with self._call("create", place):
            (place.home / "data").touch()
        return place.spec

    def adopt(self, place: Place, options: Options) -> Spec:
        with self._call("adopt", place):
            if not (place.home / "data").exists():
                raise NotFound(f"volume {place.name}: nothing there")
            refuse_changes(place.name, place.spec, options)
        return place.spec

    def exposed(self, place: Place) -> Path:
        return place.mountpoint / "exposed"

    def is_mounted(self, place: Place) -> bool:
        uuid = self._kernel.mounted.get(place.mountpoint)
        if uuid not in (None, place.uuid):
            raise OperationFailed(f"volume {place.name}: something foreign is mounted")
        return uuid is not None

    def mount(self, place: Place) -> None:
        with self._call("mount", place):
            assert place.mountpoint.is_dir()
            self.check(place)
            self._kernel.mounted[place.mountpoint] = place.uuid

    def unmount(self, place: Place) -> bool:
        with self._call("unmount", place):
            if place.name in self._kernel.busy:
                return False
            self._kernel.mounted.pop(place.mountpoint, None)
            return place.name not in self._kernel.attached

    def holders(self, place: Place, census: Census) -> Sequence[Holder]:
        return self._kernel.holders.get(place.name, [])

    def abandon(self, place: Place) -> None:
        self._kernel.calls.append(("abandon", place.name))
        self._kernel.mounted.pop(place.mountpoint, None)

    def destroy(self, place: Place) -> None:
        with self._call("destroy", place):
            assert place.uuid not in self._kernel.mounted.values(), "it is still mounted"
            files.remove_tree(place.home)

    def usage(self, place: Place, now: float) -> Usage:
        with self._call("usage", place):
            return Usage(used=1, allocated=place.spec.size, sampled=now)

    def check(self, place: Place) -> None:
        if not (place.home / "data").exists():
            raise Corrupt(f"volume {place.name}: its data is missing")

    def facts(self) -> dict[str, str]:
        return {"fake": "yes"}

    # Snapshots: the content of the one file is the data

    def plan(self, place: Place) -> Plan:
        return Plan(way=Way.REFLINK if self.instant else Way.COPY, instant=self.instant, bytes=1)

    def freezable(self, place: Place) -> Path | None:
        return None

    def copy(self, source: Place, target: Place, step: Step) -> None:
        with self._call("copy", source):
            step(1)
            shutil.copyfile(source.home / "data", target.home / "data")

    def finish(self, source: Place, target: Place, step: Step) -> Spec:
        return target.spec

    def clones(self, source: Place, spec: Spec) -> bool:
        return True

    def rollback(self, place: Place, snapshot: Place, staged: Place, step: Step) -> None:
        with self._call("rollback", place):
            assert place.uuid not in self._kernel.mounted.values(), "it is still mounted"
            shutil.copyfile(snapshot.home / "data", staged.home / "data")
            (staged.home / "data").rename(place.home / "data")

    def withdraw(self, snapshot: Place) -> None:
        self._kernel.calls.append(("withdraw", snapshot.name))

    @contextmanager
    def reading(self, place: Place) -> Iterator[Path]:
        yield place.home

    @contextmanager
    def writing(self, place: Place) -> Iterator[Path]:
        yield place.home

    def shares(self, place: Place) -> Shares | None:
        return Shares(allocated=3, shared=2)

    # Resizable

    def resized(self, spec: Spec, size: int) -> Spec:
        if spec.size is None or size < spec.size:
            raise Unsupported("a volume cannot shrink")
        return spec.model_copy(update={"size": size, "grows_from": spec.size})

    def delay(self, place: Place) -> str:
        return self.delays

    def grow(self, place: Place) -> bool:
        with self._call("grow", place):
            return not self.delays

    def trim(self, place: Place) -> int:
        with self._call("trim", place):
            return 4096

    def _call(self, method: str, place: Place) -> "_Call":
        return _Call(self._kernel, method, place.name)


class _Call:
    """One call of a method; the engine promised that a volume has one at a time."""

    def __init__(self, kernel: FakeKernel, method: str, volume: str) -> None:
        self._kernel = kernel
        self._key = method, volume

    def __enter__(self) -> None:
        kernel, (method, volume) = self._kernel, self._key
        kernel.calls.append(self._key)
        # Measuring and deleting go on beside the other verbs.
        if method not in ("usage", "destroy"):
            running = kernel.inside.setdefault(volume, method)
            assert running == method, f"{method} began while {running} was running"
        if gate := kernel.gates.get(self._key):
            gate.pass_through()
        if failure := kernel.failures.get(self._key):
            self.__exit__()
            raise failure

    def __exit__(self, *_: object) -> None:
        if self._key[0] not in ("usage", "destroy"):
            self._kernel.inside.pop(self._key[1], None)


class FakeContainers:
    """The Docker Engine's side: who uses what, and what was done to them."""

    def __init__(self) -> None:
        self.using: dict[str, list[Container]] = {}  # by volume
        self.projects: dict[str, list[str]] = {}  # volumes by project
        self.local: dict[str, LocalVolume] = {}
        self.calls: list[str] = []

    def users(self, volumes: Collection[str]) -> list[Container]:
        return [user for volume in volumes for user in self.using.get(volume, [])]

    @contextmanager
    def paused(self, containers: Sequence[Container]) -> Iterator[None]:
        self.calls.append("pause")
        yield
        self.calls.append("unpause")

    def stop(self, containers: Sequence[Container], grace: int = 10) -> list[Container]:
        self.calls.append("stop")
        return list(containers)

    def start(self, containers: Sequence[Container]) -> None:
        self.calls.append("start")

    def volumes_of_project(self, project: str) -> list[str]:
        return self.projects.get(project, [])

    def volumes_of_container(self, container: str) -> list[str]:
        return self.projects.get(container, [])

    def local_volume(self, name: str) -> LocalVolume:
        return self.local[name]

    def local_volumes_of_project(self, project: str) -> list[LocalVolume]:
        return list(self.local.values())


class Engine:
    """One daemon's engine below a folder; `restarted` is its successor after a kill."""

    def __init__(
        self,
        folder: Path,
        kernel: FakeKernel,
        *,
        boot: str = "boot",
        time_limit: float = 25.0,
        trash_keep: float = 0.0,
    ) -> None:
        kernel.daemons.append(self)
        self.folder = folder
        self._trash_keep = trash_keep
        self.kernel = kernel
        self.clock = Clock()
        self.store = Store(folder / "root")
        self.store.open("a test")
        self.references = ReferenceStore(folder / "run", boot)
        self.blocking = Blocking()
        self.backend = FakeBackend(kernel)
        self.steps = Steps(
            self.store,
            self.references,
            {self.backend.name: self.backend},
            Ledger(folder, overcommit=1000.0, reserve=0),
            folder / "run" / "mounts",
            lambda: NOW,
        )
        self.operations = Operations(self.blocking, time_limit=time_limit)
        self.jobs = Jobs(self.operations, lambda: NOW)
        copying = Copying(self.steps, folder / "run" / "frozen", freeze_limit=30.0)
        self.deletions = Deletions(self.operations, self.steps)
        self.trash = TrashBin(self.operations, self.steps, self.deletions, keep=trash_keep)
        self.volumes = Volumes(
            self.operations,
            self.steps,
            copying,
            self.deletions,
            self.clock,
            jobs=self.jobs,
            trash=self.trash,
        )
        self.containers = FakeContainers()
        docker = cast("ContainerEngine", self.containers)
        self.snapshots = Snapshots(self.volumes, self.steps, copying, self.deletions, docker)
        self.copies = Copies(self.volumes, self.steps, copying, docker)
        self.accounts = Accounts(self.operations, self.steps, self.trash)
        self.recovery = Recovery(self.steps, copying, self.clock)
        self.metrics = Metrics("0")
        self.sizes = Sizes(self.volumes, self.steps, self.jobs, self.metrics, self.clock)
        self.janitor = Janitor(
            self.volumes,
            self.steps,
            self.metrics,
            self.clock,
            interval=30.0,
            usage_interval=60.0,
            grace=GRACE,
        )

    def start(self) -> "Engine":
        entries = self.recovery.load()
        self.trash.open(self.steps.trash.load())
        self.operations.open(entries)
        return self

    def killed(self) -> None:
        """End without a word: what is on disk and in the kernel stays."""
        self.blocking.close()
        self.store.close()

    def restarted(self, *, boot: str = "boot") -> "Engine":
        self.killed()
        return Engine(self.folder, self.kernel, boot=boot, trash_keep=self._trash_keep).start()

    def rebooted(self) -> "Engine":
        self.kernel.mounted.clear()
        self.kernel.holders.clear()
        return self.restarted(boot="next boot")

    def mountpoint(self, name: str) -> Path:
        return self.steps.mounts_dir / name

    def is_mounted(self, name: str) -> bool:
        """What the kernel says."""
        return self.mountpoint(name) in self.kernel.mounted

    def counted(self, name: str) -> int:
        """What is on disk of the references."""
        held = self.references.load().get(name)
        return held.total if held else 0


def holder(pid: int = 42) -> Holder:
    """A container that uses a volume."""
    return Holder(pid, "postgres", "0123456789ab" + "0" * 52, "/data")
