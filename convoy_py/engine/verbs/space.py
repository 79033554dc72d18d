"""The verbs on space: resize, trim, and df, which measures."""

import asyncio
import logging
from contextlib import suppress
from functools import partial
from pathlib import Path

from convoy_py.backends.base import Backend, Resizable
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.views import all_snapshot_views
from convoy_py.engine.running.jobs import Jobs, Progress
from convoy_py.engine.running.mirror import rerecord
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.parts import power
from convoy_py.engine.verbs.room import Room
from convoy_py.engine.verbs.uses import Uses
from convoy_py.errors import Cancelled, ConvoyError, NoAnswer, NoSpace, Unavailable, Unsupported
from convoy_py.linux import filesystems
from convoy_py.linux.extents import Shares
from convoy_py.logs import event
from convoy_py.models.names import joined
from convoy_py.models.sizes import format_size
from convoy_py.models.volume import Spec
from convoy_py.wire.space import SnapshotSpace, VolumeSpace

log = logging.getLogger("convoy.space")


class SpaceVerbs:
    """The space of one daemon's volumes."""

    def __init__(
        self,
        operations: Operations,
        uses: Uses,
        room: Room,
        host: Host,
        jobs: Jobs,
    ) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._host = host
        self._jobs = jobs
        self._room = room
        self._uses = uses
        self._turn = asyncio.Lock()  # to measure is slow: it shall not take all the threads

    async def resize(self, name: str, size: int, *, by: bool = False) -> tuple[int, str]:
        """Make a volume larger: at once, or where that cannot be at its next mount.

        With `by`, so many bytes larger than it is. Returns (size in bytes, why it is to wait or
        ""). Raises Unsupported for a smaller size, InvalidOption, NoSpace.
        """
        return await self._room.made_for(partial(self._resize, name, size, by=by))

    async def _resize(self, name: str, size: int, *, by: bool) -> tuple[int, str]:
        async with self._operations.locked_idle(name):
            entry = self._entries.get(name)
            backend, place = entry.usable()
            power = _resizable(backend, name)
            old = entry.volume_record().spec
            wanted = (old.size or 0) + size if by else size
            new = await self._operations.do(name, "resize", power.resized, old, wanted)
            if new != old or old.grows_from is not None:
                await self._grow(entry, power, old, new)
            assert new.size is not None
            pending = entry.volume_record().spec.grows_from is not None
            why = await self._operations.do(name, "resize", power.delay, place) if pending else ""
            return new.size, why

    async def trim(self, name: str) -> int:
        """Give a volume's free blocks back to the host; returns bytes, as its filesystem says."""
        async with self._operations.locked_idle(name) as locked:
            entry = self._entries.get(name)
            backend, place = entry.usable()
            power = _resizable(backend, name)
            async with self._uses.steady("a trim", locked, entry):
                return await self._operations.do_long(name, "trim", power.trim, place)

    async def trim_all(
        self, progress: Progress, *, mounted: bool = False
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Trim every volume that can be, or that is `mounted`.

        Returns the bytes by volume, and why others were not trimmed.
        """
        trimmed: dict[str, int] = {}
        skipped: dict[str, str] = {}
        for name, entry in sorted(self._entries.volumes.items()):
            if mounted and not entry.mounted:
                continue  # a container that is to mount it would have to wait
            progress.note = name
            progress(0)
            try:
                await self._await_idle(name)
                trimmed[name] = await self.trim(name)
            except ConvoyError as error:
                skipped[name] = str(error)
        return trimmed, skipped

    async def _await_idle(self, name: str) -> None:
        """Raise Unavailable if others do not get done with a volume within the time limit."""
        try:
            async with asyncio.timeout(self._operations.time_limit):
                async with self._operations.locked_idle(name):
                    pass
        except TimeoutError:
            raise Unavailable(f"volume {name}: something else is being done with it") from None

    async def trim_in_background(self) -> None:
        """The chore of the setting trim_interval."""
        trimmed, _ = await self._jobs.run("trim", "--all", partial(self.trim_all, mounted=True))
        told = format_size(sum(trimmed.values()))
        event(log, logging.INFO, "trimmed", volumes=len(trimmed), trimmed=told)

    async def df(self) -> list[VolumeSpace]:
        """Every volume, by name. Without locks: what goes away meanwhile is left out or unknown."""
        async with self._turn:
            entries = sorted(self._entries.volumes.items())
            return [await self._account_if_it_answers(entry) for _, entry in entries]

    async def _account_if_it_answers(self, entry: Entry) -> VolumeSpace:
        """One account; without figures if the volume's storage hangs: the others go on."""
        threads = await self._operations.threads(entry.name)
        try:
            return await threads.ask(entry.name, partial(self._account, entry))
        except NoAnswer:
            return VolumeSpace(
                name=entry.name,
                promised=_promised(entry),
                used=None,
                allocated=None,
                shared=None,
                reclaimable=None,
                snapshots=[
                    SnapshotSpace(name=view.name, frees=None) for view in all_snapshot_views(entry)
                ],
                note="no answer",
            )

    def _account(self, entry: Entry) -> VolumeSpace:
        own, usage, used = _shares(entry), entry.usage, _used(entry)
        allocated = usage.allocated if usage else None
        if own is not None:
            allocated = own.allocated
        return VolumeSpace(
            name=entry.name,
            promised=_promised(entry),
            used=used,
            allocated=allocated,
            shared=own.shared if own else None,
            reclaimable=_reclaimable(entry, allocated, used),
            inodes=usage.inodes if usage else None,
            inodes_used=usage.inodes_used if usage else None,
            snapshots=[
                SnapshotSpace(
                    name=view.name, frees=_freed(entry.snapshots[joined(entry.name, view.name)])
                )
                for view in all_snapshot_views(entry)
            ],
        )

    # Steps

    async def _grow(self, entry: Entry, power: Resizable, old: Spec, new: Spec) -> None:
        """Record what is wanted, promise the space, grow, and record that it is done."""
        name, record = entry.name, entry.volume_record()
        backend, _ = entry.usable()
        more = backend.promised(new) - backend.promised(old)
        done, failure = False, None
        with self._host.ledger.extend(name, more, preallocated=backend.reserves(new)):
            # The point of no return but for a refusal: whoever mounts it completes the growth.
            await rerecord(
                self._operations, self._host, entry, record.model_copy(update={"spec": new})
            )
            _, place = entry.usable()
            try:
                done = await self._operations.do(name, "resize", power.grow, place)
            except (NoSpace, Unsupported):
                await rerecord(
                    self._operations, self._host, entry, record
                )  # for nothing was changed
                raise
            except ConvoyError as error:
                failure = error  # it is still to be completed, and so the promise stays
        if failure is not None:
            raise failure
        if done:
            await self._uses.note_growth(entry)


def _promised(entry: Entry) -> int | None:
    if entry.place is None:
        return None
    backend, place = entry.usable()
    return backend.promised(place.spec)


def _shares(entry: Entry) -> Shares | None:
    try:
        backend, place = entry.usable()
        return power(backend, entry.name).shares(place)
    except Cancelled:
        raise
    except (OSError, ConvoyError):
        return None  # it went away, or cannot be read


def _used(entry: Entry) -> int | None:
    """Bytes that are used inside: of a mounted image now, else when it was last looked at."""
    if entry.mounted and entry.has_own_filesystem:
        with suppress(OSError):  # unmounted just now
            return filesystems.space(Path(entry.mountpoint())).used
    return entry.usage.used if entry.usage else None


def _freed(snapshot: Entry) -> int | None:
    shares = _shares(snapshot)
    return shares.allocated - shares.shared if shares else None


def _reclaimable(entry: Entry, allocated: int | None, used: int | None) -> int | None:
    """What a trim might give back: what it has beyond what its own filesystem uses."""
    if allocated is None or used is None or not entry.has_own_filesystem:
        return None
    backend, place = entry.usable()
    if backend.reserves(place.spec):
        return None
    return max(0, allocated - used)


def _resizable(backend: Backend, name: str) -> Resizable:
    if isinstance(backend, Resizable):
        return backend
    raise Unsupported(f"volume {name}: backend {backend.name} cannot be resized or trimmed")
