"""Stand-ins for the layer below the one under test."""

import asyncio
from datetime import UTC, datetime

from convoy_py.engine.ledger import HostSpace
from convoy_py.engine.volumes import Volumes
from convoy_py.errors import OptionsDiffer, VolumeInUse, VolumeNotFound
from convoy_py.models.volume import Filesystem, Options, Spec, State, Usage, View

NOW = 1_767_323_045.0  # 2026-01-02T03:04:05Z
CREATED = datetime.fromtimestamp(NOW, UTC)


class FakeVolumes(Volumes):
    """The engine's public face over a dict.

    `failures` maps a method's name to what it raises; while `gate` is cleared, mount does not
    return; `opened` cleared is an engine that still reads its records.
    """

    def __init__(self) -> None:
        self.known: dict[str, View] = {}
        self.holds: list[tuple[str, str, str]] = []  # (volume, reference, epoch)
        self.released: list[tuple[str, str, str]] = []
        self.asked: dict[str, Options] = {}
        self.adopted: list[str] = []
        self.data_kept: list[str] = []
        self.problems: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.opened = asyncio.Event()
        self.opened.set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()  # a mount waits at the gate

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

    def _fail(self, operation: str) -> None:
        if operation in self.failures:
            raise self.failures[operation]

    async def ready(self) -> None:
        await self.opened.wait()

    async def create(self, name: str, options: Options, *, adopt: bool = False) -> None:
        self._fail("create")
        if name in self.known:
            if self.asked.get(name) != options:
                raise OptionsDiffer(name, {"size": ("1GiB", "2GiB")})
            return
        self.add(name)
        self.asked[name] = options
        if adopt:
            self.adopted.append(name)

    async def remove(self, name: str, *, keep_data: bool = False) -> None:
        self._fail("remove")
        self.get(name)
        if held := [reference for volume, reference, _ in self.holds if volume == name]:
            raise VolumeInUse(name, held)
        del self.known[name]
        if keep_data:
            self.data_kept.append(name)

    async def mount(self, name: str, reference: str, epoch: str) -> str:
        self.entered.set()
        await self.gate.wait()
        self._fail("mount")
        view = self.get(name)
        self.holds.append((name, reference, epoch))
        path = f"/run/convoy/mounts/{name}/data"
        changed = {
            "state": State.MOUNTED,
            "mountpoint": path,
            "references": view.references + 1,
        }
        self.known[name] = view.model_copy(update=changed)
        return path

    async def unmount(self, name: str, reference: str) -> None:
        self._fail("unmount")
        held = [hold for hold in self.holds if hold[:2] == (name, reference)]
        if held:
            self.holds.remove(held[0])

    async def release(self, name: str, reference: str, epoch: str) -> None:
        self.released.append((name, reference, epoch))
        if (name, reference, epoch) in self.holds:
            self.holds.remove((name, reference, epoch))

    def get(self, name: str) -> View:
        self._fail("get")
        if name not in self.known:
            raise VolumeNotFound(name)
        return self.known[name]

    def check_reach(self, name: str, pid: int) -> None:
        self._fail("reach")

    def views(self) -> list[View]:
        return [view for _, view in sorted(self.known.items())]

    def listing(self) -> list[tuple[str, str]]:
        self._fail("list")
        return [(view.name, view.mountpoint) for view in self.known.values()]

    def lingering(self) -> int:
        return 0

    def health(self) -> list[str]:
        return self.problems

    async def space(self) -> HostSpace:
        return HostSpace(size=100, free=60, outstanding=30, may_promise=90)

    async def kept(self) -> list[str]:
        return self.data_kept

    async def drivers(self) -> dict[str, dict[str, str]]:
        return {"directory": {"size": "no"}, "loopback": {"size": "yes"}}
