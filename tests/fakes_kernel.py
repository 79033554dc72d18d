"""A backend and a kernel that only pretend, with gates to hold them up and failures to order."""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from convoy_py.backends.base import COMMON, Backend, Place, Resizable, Snapshottable
from convoy_py.backends.common import refuse_changes
from convoy_py.backends.imageable import Imageable
from convoy_py.errors import Corrupt, NotFound, OperationFailed, Unsupported
from convoy_py.linux import files
from convoy_py.linux.extents import Shares
from convoy_py.linux.fresh import Haste
from convoy_py.linux.holders import Census, Holder
from convoy_py.linux.mounts import Mount
from convoy_py.linux.reflink import Step
from convoy_py.models.claims import Member
from convoy_py.models.snapshot import Plan, Way
from convoy_py.models.volume import Options, Spec, Usage

_PATIENCE = 120.0


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


class WatchedLock:
    """A lock that tells when somebody has to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.awaited = threading.Event()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.awaited.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Daemon(Protocol):
    """What is to be ended with the kernel."""

    def killed(self) -> None: ...


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
    daemons: list["Daemon"] = field(default_factory=list)
    reading: list[tuple[str, bool]] = field(default_factory=list)  # uuid, whether it was mounted
    frozen: set[Path] = field(default_factory=set)
    over: set[Member] = field(default_factory=set)  # lives of other hosts of a shared root
    boottime: Clock = field(default_factory=Clock)

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

    @contextmanager
    def freeze(
        self,
        folders: Sequence[Path],
        *,
        note: Path,
        encode: Callable[[Sequence[str]], bytes],
        limit: float,
        tell: Callable[[float], None],
    ) -> Iterator[None]:
        """As linux.freeze.frozen; what a killed daemon would leave is seen in `frozen`."""
        assert self.frozen.isdisjoint(folders), "it is frozen already"
        note.write_bytes(encode([str(folder) for folder in folders]))
        self.frozen |= set(folders)
        try:
            yield
        finally:
            self.frozen -= set(folders)
            note.unlink()
            tell(0.1)

    def must_change(self, place: Place, method: str) -> None:
        """Fail if this would change what long work reads."""
        for uuid, mounted in self.reading:
            # A folder that is read at rest may be mounted, but an image may not.
            allowed = method == "mount" and (mounted or place.spec.fs is None)
            assert uuid != place.uuid or allowed, f"{method} of {place} while it is read"


class FakeBackend(Backend, Snapshottable, Resizable, Imageable):
    """Keeps the contract with a folder per volume, and fails if the engine breaks its side of it.

    A volume with an `fs` is taken for an image: nobody may mount it while it is read at rest. The
    one file in it is its filesystem, which is whole unless that says otherwise.
    """

    name: ClassVar[str] = "fake"
    takes = COMMON | {"size", "fs", "sparse", "autogrow", "inodes", "schedule_raw"}
    usual = "data"
    adopts = "a folder data"

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self.way = Way.REFLINK
        self.lag: dict[str, int] = {}  # volume: how many precopies leave so much that one more pays
        self.delays = ""  # why growing has to wait
        self.limits: dict[int | None, int] = {}  # inodes that a clone of a size has of its source

    def resolve(self, options: Options) -> Spec:
        return Spec.of(options, backend=self.name)

    def inherited(self, spec: Spec, asked: Options) -> Options:
        inodes = self.limits.get(asked.size, spec.inodes)
        return spec.options().model_copy(update={"inodes": inodes})

    def promised(self, spec: Spec) -> int:
        return spec.size or 0

    def reserves(self, spec: Spec) -> bool:
        return spec.sparse is False

    def has_own_filesystem(self, spec: Spec) -> bool:
        return spec.fs is not None

    def recognises(self, home: Path, data: str | None = None) -> bool:
        return (home / (data or "data")).exists()

    def data(self, place: Place) -> Path | None:
        return None if place.spec.fs else place.held_as("data")

    def create(self, place: Place) -> Spec:
        with self._call("create", place):
            (place.held_as("data")).mkdir()
        return place.spec

    def adopt(self, place: Place, options: Options) -> Spec:
        with self._call("adopt", place):
            if not (place.held_as("data")).exists():
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
            self._kernel.must_change(place, "mount")
            self._kernel.mounted[place.mountpoint] = place.uuid

    def unmount(self, place: Place) -> bool:
        with self._call("unmount", place):
            if place.name in self._kernel.busy:
                return False
            self._kernel.must_change(place, "unmount")
            mounted = place.mountpoint in self._kernel.mounted
            assert place.mountpoint.is_dir() or not mounted, "it was removed first"
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
            if place.uuid:
                self._kernel.must_change(place, "destroy")
            files.remove_tree(place.home)

    def usage(self, place: Place, now: float) -> Usage:
        with self._call("usage", place):
            return Usage(used=1, allocated=place.spec.size, sampled=now)

    def check(self, place: Place) -> None:
        if not (place.held_as("data")).exists():
            raise Corrupt(f"volume {place.name}: its data is missing")

    def facts(self) -> dict[str, str]:
        return {"fake": "yes"}

    # Snapshots

    def plan(self, place: Place, *, clone: bool = False) -> Plan:
        assert place.spec.backend == self.name, "another backend's"
        return Plan(way=self.way, instant=self.way.instant, bytes=100)

    def freezable(self, place: Place, *, clone: bool = False) -> Path | None:
        image = place.spec.fs is not None and place.within is None
        return place.mountpoint if image and place.mountpoint in self._kernel.mounted else None

    def precopy(self, source: Place, target: Place, step: Step) -> bool:
        assert not self._kernel.frozen, "writers wait"
        with self._read("precopy", source):
            step(0)
        return self._kernel.count("precopy", source.name) <= self.lag.get(source.name, 0)

    def copy(self, source: Place, target: Place, step: Step) -> None:
        freezable = self.freezable(source)
        assert freezable is None or freezable in self._kernel.frozen, "writers go on"
        with self._read("copy", source):
            step(1)
            shutil.copytree(source.held_as("data"), target.held_as("data"))

    def finish(self, source: Place, target: Place, step: Step) -> Spec:
        with self._read("finish", source):
            step(1)
        return target.spec

    def clones(self, source: Place, spec: Spec) -> bool:
        return (spec.backend, spec.fs) == (self.name, source.spec.fs)

    def rollback(self, place: Place, snapshot: Place, staged: Place, step: Step) -> None:
        with self._call("rollback", place), self._read("rollback from", snapshot):
            assert place.uuid not in self._kernel.mounted.values(), "it is still mounted"
            step(1)
            shutil.copytree(snapshot.held_as("data"), staged.held_as("data"))
            files.exchange(staged.held_as("data"), place.held_as("data"))

    def withdraw(self, snapshot: Place) -> None:
        assert snapshot.home.exists()
        with self._read("withdraw", snapshot):
            pass

    @contextmanager
    def reading(self, place: Place) -> Iterator[Path]:
        with self._read("reading", place):
            yield place.held_as("data")

    @contextmanager
    def writing(self, place: Place) -> Iterator[Path]:
        with self._call("writing", place):
            yield place.held_as("data")

    def shares(self, place: Place) -> Shares | None:
        with self._read("shares", place):
            return Shares(allocated=3, shared=2)

    # Imageable

    def image(self, place: Place) -> Path | None:
        is_inside = place.within is not None and self.way is Way.INSIDE
        return None if place.spec.fs is None or is_inside else place.held_as("data") / "file"

    def renew(self, place: Place, target: Path, haste: Haste, step: Step) -> bool:
        with self._call("renew", place):
            shutil.copyfile(place.held_as("data") / "file", target)
        haste.settle()
        return True

    def suits(self, made: Spec, spec: Spec) -> None:
        if spec.fs != made.fs or (spec.size or 0) < (made.size or 0):
            raise Unsupported("it does not suit")

    def begin_image(self, place: Place, size: int) -> Path:
        with self._call("begin_image", place):
            (place.held_as("data")).mkdir()
            with (place.held_as("data") / "file").open("xb") as file:
                file.truncate(size)
        return place.held_as("data") / "file"

    def take_image(self, place: Place) -> Spec:
        with self._call("take_image", place):
            if "damaged" in (place.held_as("data") / "file").read_text():
                raise Corrupt(f"{place}: its image is damaged")
        return place.spec

    # Resizable

    def resized(self, spec: Spec, size: int) -> Spec:
        if spec.size is None or size < spec.size:
            raise Unsupported("a volume cannot shrink")
        if size == spec.size:
            return spec
        grows_from = spec.grows_from or spec.size
        return spec.model_copy(update={"size": size, "grows_from": grows_from})

    def delay(self, place: Place) -> str:
        return self.delays

    def grow(self, place: Place) -> bool:
        with self._call("grow", place):
            return not self.delays

    def trim(self, place: Place) -> int:
        with self._read("trim", place):
            return 4096

    def _call(self, method: str, place: Place) -> "_Call":
        return _Call(self._kernel, method, place.name)

    @contextmanager
    def _read(self, method: str, place: Place) -> Iterator[None]:
        """One call that goes on beside other verbs, for which the place stays as it is."""
        reading = place.uuid, place.mountpoint in self._kernel.mounted
        self._kernel.reading.append(reading)
        try:
            with _Call(self._kernel, method, place.name, beside=True):
                yield
        finally:
            self._kernel.reading.remove(reading)


class OtherBackend(FakeBackend):
    """Another one, whose volumes cannot be made by copying the first one's homes."""

    name = "other"


class _Call:
    """One call of a method; the engine promised that a volume has one at a time."""

    def __init__(
        self, kernel: FakeKernel, method: str, volume: str, *, beside: bool = False
    ) -> None:
        self._kernel = kernel
        self._key = method, volume
        # Measuring and deleting go on beside the other verbs too.
        self._beside = beside or method in ("usage", "destroy")

    def __enter__(self) -> None:
        kernel, (method, volume) = self._kernel, self._key
        kernel.calls.append(self._key)
        if not self._beside:
            running = kernel.inside.setdefault(volume, method)
            assert running == method, f"{method} began while {running} was running"
        if gate := kernel.gates.get(self._key):
            gate.pass_through()
        if failure := kernel.failures.get(self._key):
            self.__exit__()
            raise failure

    def __exit__(self, *_: object) -> None:
        if not self._beside:
            self._kernel.inside.pop(self._key[1], None)
