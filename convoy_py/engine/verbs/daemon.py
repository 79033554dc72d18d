"""The facts of the daemon itself: how it is, what it can, and the host's space."""

from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.host import Host
from convoy_py.errors import Unavailable
from convoy_py.models.hosts import HostView
from convoy_py.wire.space import Space


class Daemon:
    """What is told of one daemon as a whole."""

    def __init__(self, operations: Operations, host: Host) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._host = host

    async def ready(self) -> None:
        """Return once the records have been read."""
        await self._operations.ready()

    async def seek(self, name: str) -> None:
        """Know of a volume that another host of a shared root has just made."""
        await self._operations.seek(name)

    @property
    def is_shared(self) -> bool:
        """Whether other hosts may have the same volumes."""
        return self._operations.claims is not None

    def root(self) -> dict[str, str]:
        """What the filesystem of a shared root was found to do; nothing of any other root."""
        membership = self._host.membership
        able = membership.abilities if membership else None
        if able is None:
            return {}
        return {
            "exchange": "yes" if able.exchanges else "no: no rollback, no restore in place",
            "reflink": _told(able.reflinks),
            "quick copies": "not known" if able.quick_copies is None else _told(able.quick_copies),
            "holes": _told(able.tells_holes),
            "blocks": "told" if able.tells_blocks else "not told: what is allocated is a guess",
            "locks": _told(able.locks),
        }

    def hosts(self) -> list[HostView]:
        """The hosts of a shared root, with the volumes that each uses; none of any other root."""
        membership = self._host.membership
        return [self._with_volumes(view) for view in membership.views()] if membership else []

    def _with_volumes(self, view: HostView) -> HostView:
        used = [name for name, entry in self._entries.volumes.items() if view.name in entry.hosts]
        return view.model_copy(update={"volumes": tuple(sorted(used))})

    def health(self) -> list[str]:
        """What keeps this daemon from serving, in words; empty when it is well."""
        return self._host.problems()

    def lingering(self) -> int:
        """How many unmounts are not complete, because something else holds the volume."""
        return sum(entry.lingering for entry in self._entries.everything())

    def check_reach(self, name: str, pid: int) -> None:
        """Raise Unavailable if what is mounted here would not be seen by the engine's process.

        Its container would write into an empty folder of the host. A pid of 0 is one unseen.
        """
        if problem := self._host.isolation_from(pid):
            raise Unavailable(f"volume {name}: {problem}")

    async def space(self) -> Space:
        if self._host.store.presence.away:
            return Space(size=0, free=0, promised=0, may_promise=0)
        return await self._operations.blocking.run(self._host.ledger.space)

    async def kept(self) -> list[str]:
        """The names of volumes that were forgotten, and whose data was kept."""
        return await self._operations.blocking.run(self._host.store.kept)

    async def drivers(self) -> dict[str, dict[str, str]]:
        """Each backend that is on, with what it can do here; nothing without the root."""
        if self._host.store.presence.away:
            return {name: {} for name in self._host.backends}
        return {
            name: await self._operations.blocking.run(backend.facts)
            for name, backend in self._host.backends.items()
        }


def _told(able: bool) -> str:
    return "yes" if able else "no"
