"""A whole engine over a backend that only pretends: no root, no kernel, and a clock on a string."""

import asyncio
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from convoy_py.containers import Container
from convoy_py.docker_volumes import Docker, Known, LocalVolume
from convoy_py.engine import compose
from convoy_py.engine.memory.ledger import Ledger
from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.membership import Membership
from convoy_py.errors import ContainerRestarts, NotFound, OperationFailed, VolumeNotFound
from convoy_py.linux.holders import Holder
from convoy_py.metrics import Metrics
from convoy_py.models.claims import Member
from convoy_py.models.snapshot import SnapshotView
from convoy_py.settings import Settings
from convoy_py.state.claims import SharedRecords
from convoy_py.state.news import News
from convoy_py.state.passed import PassedTime
from convoy_py.state.references import ReferenceStore
from convoy_py.state.store import Store
from tests.fakes_kernel import Clock, FakeBackend, FakeKernel, Gate

__all__ = [
    "DAY",
    "GRACE",
    "NOW",
    "Engine",
    "FakeBackend",
    "FakeContainers",
    "FakeKernel",
    "Gate",
    "holder",
]

NOW = 1_767_323_045.0  # 2026-01-02T03:04:05Z
GRACE = 60.0
DAY = 86_400.0


class FakeContainers:
    """The Docker Engine's side: who uses what, what was done to them, and its own volumes.

    `asks` is what it asks of our driver before it takes a name for another; what `failures` has
    for a call fails.
    """

    def __init__(self, folder: Path) -> None:
        self.using: dict[str, list[Container]] = {}  # by volume
        self.projects: dict[str, list[str]] = {}  # volumes by project
        self.local: dict[str, LocalVolume] = {}
        self.ours: dict[str, dict[str, str]] = {}  # labels of our volumes, by name
        self.calls: list[str] = []
        self.failures: dict[tuple[str, str], Exception] = {}
        self.asks: Callable[[str], object] = lambda _: None
        self.restarting: set[str] = set()  # ids of those that ended since they were listed
        self.refuses_start = ""  # why
        self.when_stopped: Callable[[], object] = lambda: None
        self.when_called: Callable[[str, str], object] = lambda call, name: None
        self._folder = folder

    def users(self, volumes: Collection[str]) -> list[Container]:
        found = {user.id: user for volume in volumes for user in self.using.get(volume, [])}
        return [replace(user, volumes=self._volumes_of(user)) for user in found.values()]

    def known(self, volumes: Collection[str]) -> Known:
        self._called("known", "")
        labels = {name: self.ours[name] for name in volumes if name in self.ours}
        images = {name: {"app:1": "app@sha256:1"} for name in volumes if self.using.get(name)}
        return Known(self.users(volumes), labels, images)

    @contextmanager
    def paused(self, containers: Sequence[Container]) -> Iterator[None]:
        for container in containers:
            if container.state == "restarting" or container.id in self.restarting:
                raise ContainerRestarts(container.id, str(container))
        self.calls.append("pause")
        yield
        self.calls.append("unpause")

    def unpause(self, containers: Sequence[Container]) -> None:
        """Nobody is left paused by a `paused` that failed."""

    def execute(
        self,
        container: str,
        words: Sequence[str],
        limit: float,
        follow: Callable[[], object] = lambda: None,
    ) -> None:
        follow()
        self.calls.append(f"{container}: {words[-1]}")
        self._called("execute", words[-1])

    def stoppable(self, containers: Sequence[Container]) -> list[Container]:
        return list(containers)

    def stop(self, containers: Sequence[Container], grace: int = 10) -> list[Container]:
        self.calls.append("stop")
        self.when_stopped()
        return list(containers)

    def start(self, containers: Sequence[Container]) -> None:
        self.calls.append("start")
        if self.refuses_start:
            raise OperationFailed(self.refuses_start)

    def volumes_of_project(self, project: str) -> list[str]:
        return self.projects.get(project, [])

    def volumes_of_container(self, container: str) -> list[str]:
        return self.projects.get(container, [])

    def local_volume(self, name: str) -> LocalVolume:
        if name not in self.local:
            raise NotFound(f"get {name}: no such volume")
        return self.local[name]

    def local_volumes_of_project(self, project: str) -> list[LocalVolume]:
        return list(self.local.values())

    def foreign_volumes_of_project(self, project: str) -> list[str]:
        return self.projects.get(project, [])

    def driver_and_labels(self, name: str) -> tuple[str, dict[str, str]]:
        if name in self.local:
            return "local", self.local[name].labels
        return ("convoy", dict(self.ours[name])) if name in self.ours else ("", {})

    def having(self, name: str) -> list[Container]:
        return self.using.get(name, [])

    def folder(self) -> Path:
        self._folder.mkdir(exist_ok=True)
        return self._folder

    def create_local(self, name: str, labels: Mapping[str, str]) -> LocalVolume:
        self._called("create", name)
        if name in self.ours:
            with suppress(VolumeNotFound):
                self.asks(name)
                raise OperationFailed(f"driver 'convoy' already has volume '{name}'")
            del self.ours[name]
        if name not in self.local:
            folder = self._folder / name / "_data"
            folder.mkdir(parents=True)
            self.local[name] = LocalVolume(name, "local", folder, labels=dict(labels))
        return self.local[name]

    def remove_volume(self, name: str) -> None:
        self._called("remove", name)
        if self.using.get(name):
            raise OperationFailed(f"remove {name}: volume is in use")
        shutil.rmtree(self.local.pop(name).mountpoint.parent)

    def _volumes_of(self, user: Container) -> list[str]:
        return [volume for volume, users in self.using.items() if user in users]

    def _called(self, call: str, name: str) -> None:
        self.when_called(call, name)
        for (failing, start), failure in self.failures.items():
            if failing == call and name.startswith(start):
                raise failure


class FakeMembership:
    """Hosts of a shared root that live, but for those that the kernel knows to be over."""

    problem = ""
    is_foreign = False

    def __init__(self, me: Member, kernel: FakeKernel) -> None:
        self.me = me
        self._over = kernel.over

    def refuse(self) -> None:
        """This one lives."""

    def is_here(self) -> bool:
        return False

    def reopen(self) -> None:
        """Nobody else is this host."""

    def is_over(self, member: Member) -> bool:
        return member in self._over

    def fence(self, member: Member, *, is_off: bool) -> bool:
        if is_off:
            self._over.add(member)
        return member in self._over

    def meet(self, members: Iterable[Member]) -> None:
        """All are known."""

    def alive(self) -> set[int]:
        return {1, 2, 3} - {member.host for member in self._over}

    def name(self, number: int) -> str:
        return f"host-{number}"

    def phrase(self, member: Member) -> str:
        return self.name(member.host)


class Engine(compose.Engine):
    """One daemon's engine below a folder; `restarted` is its successor after a kill."""

    def __init__(
        self,
        folder: Path,
        kernel: FakeKernel,
        *,
        boot: str = "boot",
        time_limit: float = 25.0,
        trash_keep: float = 0.0,
        backup_password_file: Path | None = None,
        default_repository: str | None = None,
        root: Path | None = None,
        member: Member | None = None,
    ) -> None:
        """As `member` it is one of several hosts of a `root`."""
        kernel.daemons.append(self)
        self.folder = folder
        self._trash_keep = trash_keep
        self.kernel = kernel
        self.clock = Clock()
        self.wall = Clock()
        self.wall.now = NOW
        self._member = member
        self.store = Store(root or folder / "root")
        self.store.open("a test", shared=member is not None)
        news = News(self.store.root, member or Member(0, 0))
        if member:
            news.open()
            notes = self.store.root / "hosts" / str(member.host)
            notes.mkdir(parents=True, exist_ok=True)
            self.store.share(f"{member}-", notes, SharedRecords(member, news.tell))
        self.references = ReferenceStore(folder / "run", boot)
        self.backend = FakeBackend(kernel)
        self.metrics = Metrics("0")
        self.containers = FakeContainers(folder / "docker")
        host = Host(
            self.store,
            self.references,
            {self.backend.name: self.backend},
            Ledger(folder, overcommit=1000.0, reserve=0),
            folder / "run" / "mounts",
            PassedTime(self.store.notes, boot, kernel.boottime, self.wall),
        )
        settings = Settings(
            root=self.store.root,
            run_dir=folder / "run",
            trash_keep=trash_keep,
            rollback_keep=4,
            timezone="UTC",
            host="here",
            reference_grace=GRACE,
            backup_password_file=backup_password_file,
            default_repository=default_repository,
        )
        docker = cast("Docker", self.containers)
        super().__init__(settings, host, docker, self.metrics, self.clock, time_limit=time_limit)
        self.entries = self.operations.entries
        if member:
            self.share(cast("Membership", FakeMembership(member, kernel)), news)

    def start(self) -> "Engine":
        entries = self.recovery.load()
        self.trash.open(self.host.trash.load())
        known = self._repository_store.load()
        self.repositories.open(known, self._repository_store.all_proofs(known))
        self.operations.open(entries)
        return self

    def pass_time(self, seconds: float) -> None:
        """Let it pass for all clocks alike."""
        for clock in (self.clock, self.wall, self.kernel.boottime):
            clock.now += seconds

    async def snapshot(self, volume: str, name: str = "") -> SnapshotView:
        """Take a snapshot of one volume."""
        (view,) = await self.snapshots.create([volume], name, Progress())
        return view

    async def settled(self) -> None:
        """Wait for what goes on in the background, such as deletions."""
        while tasks := self.operations._tasks | self.operations._aside:
            await asyncio.wait(tasks)

    def killed(self) -> None:
        """End without a word: what is on disk and in the kernel stays."""
        self.blocking.close()
        self.store.close()

    def restarted(self, *, boot: str = "boot") -> "Engine":
        """The next daemon; no clock goes back by that."""
        self.killed()
        after = Engine(
            self.folder,
            self.kernel,
            boot=boot,
            trash_keep=self._trash_keep,
            root=self.store.root,
            member=self._member,
        )
        after.wall.now = self.wall.now
        return after.start()

    def rebooted(self) -> "Engine":
        self.kernel.mounted.clear()
        self.kernel.holders.clear()
        return self.restarted(boot="next boot")

    def write(self, name: str, text: str) -> None:
        """Write into a volume, as a container or the host does."""
        (self._data(name) / "file").write_text(text)

    def read(self, name: str) -> str:
        """What was last written to a volume, or to what it is a copy of; "" if nothing was."""
        file = self._data(name) / "file"
        return file.read_text() if file.exists() else ""

    def _data(self, name: str) -> Path:
        _, place = self.entries.get(name).usable()
        return place.home / "data"

    def left(self) -> list[str]:
        """What is half made or half deleted on the disk."""
        store = self.store
        found = [*store.half_made(), *store.half_deleted(), *self.host.mounts_dir.glob(".new-*")]
        return [path.name for path in found + [home for _, home in self.half_taken()]]

    def half_taken(self) -> list[tuple[str, Path]]:
        return self.host.snapshot_store.half_made()

    def mountpoint(self, name: str) -> Path:
        return self.host.mounts_dir / name

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
