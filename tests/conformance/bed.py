"""Volumes of one backend on one host filesystem, handled as the engine handles them."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO
from uuid import uuid4

from convoy_py.backends import mountpoints
from convoy_py.backends.base import Backend, Place, Resizable, Snapshottable
from convoy_py.backends.imageable import Imageable
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.ledger import Ledger
from convoy_py.engine.steps import host as host_steps
from convoy_py.engine.steps import loading
from convoy_py.engine.steps.cloning import Cloning
from convoy_py.engine.steps.parts import planned
from convoy_py.engine.steps.renewing import Renewing
from convoy_py.engine.steps.snapshots import Copying
from convoy_py.engine.steps.volumes import Steps
from convoy_py.linux import files, filesystems, loop, mounts
from convoy_py.linux.fresh import Haste
from convoy_py.linux.holders import Census, Holder
from convoy_py.linux.reflink import Step
from convoy_py.metrics import Metrics
from convoy_py.models.names import name_within
from convoy_py.models.snapshot import Consistency, Way
from convoy_py.models.volume import Options, Spec
from convoy_py.settings import Settings
from convoy_py.state.passed import PassedTime
from convoy_py.state.records import Record, SnapshotRecord, timestamp
from convoy_py.state.references import ReferenceStore
from convoy_py.state.store import Store
from tests.noise import noise

MIB = 2**20
PATIENCE = 60.0  # seconds; it bounds a failure
FREEZE_LIMIT = 60.0  # seconds
NOW = 1_767_323_045.0  # 2026-01-02T03:04:05Z


def uncounted(count: int) -> None:
    """A step of work that nobody follows."""


@dataclass(frozen=True)
class Case:
    """A row of the table: a backend, and options that make a small volume of it quickly."""

    name: str
    build: Callable[[Settings], Backend]
    data: str  # what in a volume's home holds its data
    options: Options = field(default_factory=Options)
    limited_on: frozenset[str] = frozenset()  # host filesystems on which a size is enforced
    is_resizable: bool = True


@dataclass(frozen=True)
class Host:
    """A folder on a filesystem of one kind."""

    folder: Path
    fs: str


class Bed:
    """A root of its own on a host; `close` leaves no process, mount, device or file behind."""

    def __init__(self, host: Host, case: Case) -> None:
        self.host = host
        self.case = case
        self.root = Path(tempfile.mkdtemp(prefix="bed-", dir=host.folder)).resolve()
        self.volumes = self.root / "volumes"
        self.backend = case.build(Settings(root=self.root))
        self._mounts = self.root / "mounts"
        self.run = self.root / "run"  # goes with the boot
        self._store = Store(self.root)
        self._store.open("a test")
        self._steps = Steps(
            host_steps.Host(
                self._store,
                ReferenceStore(self.run, "boot"),
                {self.backend.name: self.backend},
                Ledger(self.root, overcommit=1000.0, reserve=0),
                self._mounts,
                PassedTime(self.root, "boot", time.monotonic, lambda: NOW),
            )
        )
        self._copying = Copying(self._steps, self.run / "frozen", FREEZE_LIMIT, Metrics("0"))
        self._copying.recover()
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()
        for mount in reversed(mounts.below(self.root)):
            with suppress(OSError):  # it went with one below it
                mounts.detach(mount.mountpoint)
        for device in self.devices():
            with suppress(OSError):  # it was detached just now
                loop.detach(loop.LoopDevice(Path(device), int(device.removeprefix("/dev/loop"))))
        for path in self._mounts.glob("*"):
            files.set_immutable(path, on=False)
        self._store.close()
        files.remove_tree(self.root)

    # What the engine does

    def staged(self, name: str = "vol", **options: object) -> Place:
        """A place to build a volume in; `options` go over those of the case."""
        asked = self.case.options.model_copy(update=options)
        staging = self.volumes / f".new-{name}"
        staging.mkdir(mode=0o700)
        mountpoint = self._mounts / staging.name
        return Place(name, str(uuid4()), staging, mountpoint, self.resolved(asked))

    def created(self, name: str = "vol", **options: object) -> Place:
        """A volume, built beside its place and renamed into it."""
        asked = self.case.options.model_copy(update=options)
        return self._steps.create(name, asked).usable()[1]

    def settled(self, place: Place) -> Place:
        home = place.home.rename(self.volumes / place.name)
        return replace(place, home=home, mountpoint=self._mounts / place.name)

    def named(self, place: Place) -> Place:
        """The volume, with a name for its data in its record; under the usual one lies junk."""
        data = f"{self.case.data}.4"
        usual = self.data(place).rename(place.home / data).with_name(self.case.data)
        if (place.home / data).is_dir():
            usual.mkdir(mode=0o500)
        else:
            usual.write_bytes(b"junk")
        return replace(place, data=data)

    def mounted(self, place: Place) -> Path:
        """Mount; the exposed folder."""
        mountpoints.make(place.mountpoint)
        self.backend.mount(place)
        return self.backend.exposed(place)

    def remounted(self, place: Place) -> Path:
        self.unmounted(place)
        return self.mounted(place)

    def unmounted(self, place: Place) -> None:
        """Unmount; once more, as the engine does, while something else on the machine holds it.

        A container that is just being started has copies of all mounts for a moment.
        """
        wait_until(lambda: self.backend.unmount(place))

    def snapshot(self, place: Place, name: str = "nightly", step: Step = uncounted) -> Place:
        """Take a snapshot, with the filesystem frozen where it has to be."""
        part = planned(self._entry(place), name, self.snapshots.plan(place), NOW)
        (taken,) = self._copying.take([part], step, nullcontext())
        return taken.usable()[1]

    def clone(
        self, source: Place, name: str = "clone", step: Step = uncounted, **options: object
    ) -> Place:
        """Make a volume out of a volume or a snapshot, by `copy`; what is not given is as there."""
        asked = Options.model_validate({"source": source.name, **options})
        entry, cloning = self._entry(source), Cloning(self._steps, self._copying)
        assert self.snapshots.clones(source, cloning.clone_spec(entry, asked)[1])
        return cloning.clone(name, entry, asked, step).usable()[1]

    def rolled_back(self, place: Place, snapshot: Place, step: Step = uncounted) -> None:
        """Give a volume that is not mounted the content of a snapshot."""
        self._copying.rollback(self._entry(place), self._entry(snapshot), step)

    def renewed(self, place: Place, loser: str = "other") -> tuple[Place, Place]:
        """Give a volume a fresh inode: its place then, and that of the snapshot that it was."""
        entry, host = self._entry(place), self._steps.host
        haste = Haste(time.monotonic, None, lambda: None)
        renewed = Renewing(host).renew(entry, loser, haste, uncounted)
        assert renewed is not None
        loading.rerecord(host, entry, renewed.record)
        lost = loading.snapshot_entry(host, entry, renewed.lost.name, renewed.lost)
        return entry.usable()[1], lost.usable()[1]

    def deleted(self, snapshot: Place) -> None:
        self.snapshots.withdraw(snapshot)
        self.backend.destroy(snapshot)

    def grown(self, place: Place, size: int) -> Place:
        """Make a volume larger, now or with a mount; its place as it is to be recorded."""
        place = replace(place, spec=self.sizes.resized(place.spec, size))
        assert place.spec.size == size
        if not self.sizes.grow(place):
            self.remounted(place)
        return replace(place, spec=place.spec.model_copy(update={"grows_from": None}))

    def resolved(self, options: Options) -> Spec:
        """What would be made; refused as the engine refuses it."""
        return self._steps.host.choose(options)[1]

    def _entry(self, place: Place) -> Entry:
        """As the engine knows a volume or snapshot."""
        about = {"uuid": place.uuid, "created": timestamp(NOW), "spec": place.spec}
        if place.within is None:
            named = {"name": place.name, "data": place.data}
            record: Record | SnapshotRecord = Record.model_validate({**named, **about})
        else:
            how = {"way": Way.COPY, "consistency": Consistency.OFFLINE}  # which nobody looks at
            name = name_within(place.name)
            record = SnapshotRecord.model_validate({"name": name, **about, **how})
        return Entry(
            place.name, self._steps.host.reference_store.none(), record, self.backend, place
        )

    @property
    def snapshots(self) -> Snapshottable:
        assert isinstance(self.backend, Snapshottable)
        return self.backend

    @property
    def sizes(self) -> Resizable:
        assert isinstance(self.backend, Resizable)
        return self.backend

    @property
    def images(self) -> Imageable:
        assert isinstance(self.backend, Imageable)
        return self.backend

    def holders(self, place: Place) -> Sequence[Holder]:
        return self.backend.holders(place, Census.take())

    def abandoned(self, place: Place) -> None:
        self.backend.abandon(place)
        files.remove_tree(place.home)
        mountpoints.remove(place.mountpoint)

    # What others do

    def leak(self) -> "Stranger":
        """A process in a mount namespace of its own, with copies of all mounts of this moment."""
        return self._start("unshare", "-m", "--propagation", "private")

    def opener(self, path: Path) -> "Stranger":
        """A process on the host that has `path` open."""
        return self._start("env", opening=path)

    def cover(self, path: Path) -> None:
        """Mount something foreign at a path."""
        subprocess.run(["mount", "-t", "tmpfs", "foreign", path], check=True)

    def _start(self, *command: str, opening: Path = Path("/dev/null")) -> "Stranger":
        script = f"exec 3<'{opening}'; echo ready; read _"
        child = subprocess.Popen(
            [*command, "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        stranger = Stranger(child)
        self._stack.callback(stranger.end)
        stranger.await_ready()
        return stranger

    # What can be seen

    def data(self, place: Place) -> Path:
        return place.held_as(self.case.data)

    def free(self) -> int:
        """Bytes that are free on the host, once all is written."""
        files.sync_filesystem(self.root)
        host = os.statvfs(self.root)
        return host.f_bfree * host.f_frsize

    def allocated(self, place: Place) -> int:
        """Bytes of the host that a volume's own files occupy."""
        files.sync_filesystem(place.home)
        return files.disk_usage(place.home)[1]

    def tidied(self, seen: Path) -> bool:
        """Have a mounted filesystem do at once what it does in the background."""
        for argv in (["btrfs", "filesystem", "sync"], ["fstrim"]):
            subprocess.run([*argv, seen], check=False, capture_output=True)
        return True

    def devices(self) -> list[str]:
        """Loop devices whose backing file lies below this root, as the kernel tells."""
        found = []
        for path in Path("/sys/block").glob("loop*/loop/backing_file"):
            with suppress(OSError):  # it was detached just now
                if path.read_text().startswith(f"{self.root}/"):
                    found.append(f"/dev/{path.parts[3]}")
        return found

    def detached(self) -> None:
        """Assert that no device is left.

        Whoever looks at all devices of the machine, as udev and other daemons do, keeps one
        attached for that moment.
        """
        wait_until(lambda: not self.devices())

    def mount_options(self, place: Place) -> set[str]:
        """What the mount table says of the topmost mount at the volume's mountpoint."""
        found = mounts.find(place.mountpoint)
        return {*found.options, *found.super_options} if found else set()

    def at_rest(self, place: Place | None = None) -> None:
        """Assert that nothing is mounted or attached, and that a filesystem of ours is sound."""
        assert mounts.below(self.root) == []
        self.detached()
        if place is not None and self.data(place).is_file():
            fs = filesystems.identify(self.data(place))
            assert fs is not None
            filesystems.check(fs, self.data(place))

    def flush(self, place: Place) -> None:
        """Bring on disk what was written, in the volume and on its host."""
        files.sync_filesystem(self.backend.exposed(place))
        files.sync_filesystem(place.home)


class Stranger:
    """A process of someone else, until it is ended."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child

    @property
    def pid(self) -> int:
        return self._child.pid

    def await_ready(self) -> None:
        assert _stream(self._child.stdout).readline() == b"ready\n"

    def end(self) -> None:
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            _stream(stream).close()


def wait_until(done: Callable[[], bool]) -> None:
    """Look often, and assert that it comes true before long: what stays is really left."""
    deadline = time.monotonic() + PATIENCE
    while not (come_true := done()) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert come_true


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def written(path: Path, size: int) -> None:
    """Write so many bytes that no filesystem can store in fewer, durably."""
    with path.open("wb") as file:
        file.write(noise(size))
        file.flush()
        os.fsync(file.fileno())
