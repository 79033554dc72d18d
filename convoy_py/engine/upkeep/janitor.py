"""Looks after the volumes in the background: unfinished unmounts, leaked references, usage.

An engine that died, or could not reach the daemon, never says that a container is gone. Who really
holds a volume is seen in the mount namespaces; a reference that nobody stands behind at two looks
in a row is a leak, for a container's mount follows its Mount at once.

Most volumes stay as they were seen last: one look at all of their mounts says so. What is to be
done with the others is decided anew under their lock.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from convoy_py.backends.base import Backend, Place
from convoy_py.engine.memory import references
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.references import epoch_lasts
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.parts import power
from convoy_py.engine.verbs.uses import Uses
from convoy_py.errors import ConvoyError, Corrupt, NoAnswer
from convoy_py.linux import mounts
from convoy_py.linux.holders import Census
from convoy_py.logs import event
from convoy_py.metrics import Metrics
from convoy_py.models.names import volume_of
from convoy_py.models.volume import Usage
from convoy_py.state.records import References

log = logging.getLogger("convoy.janitor")
T = TypeVar("T")

# A sample that takes long is taken seldom: at most this part of the time is spent on sampling.
SAMPLING_SHARE = 0.05
# An engine that lives may be copying an image's content into the volume, by path, which no mount
# namespace shows: its references must be so many times older before they can be leaks.
LIVING_TIMES = 60
# Seconds after which the work on a volume whose storage hangs goes on beside that on the others.
PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Sample:
    due: float  # clock at which the next one is, seconds; infinite while this one is being taken
    again: bool  # whether there is one though nothing is mounted
    measured: bool


class Janitor:
    """The background work of one daemon; every look is one method, so that tests can call it."""

    def __init__(
        self,
        operations: Operations,
        uses: Uses,
        host: Host,
        metrics: Metrics,
        clock: Callable[[], float],
        *,
        interval: float,
        usage_interval: float,
        grace: float,
        chores: Sequence[tuple[Callable[[], Awaitable[None]], float]] = (),
    ) -> None:
        """All in seconds; a mount younger than `grace` has no leaked references.

        `chores` are what else is to be done, and how often.
        """
        self._operations = operations
        self._entries = operations.entries
        self._uses = uses
        self._host = host
        self._blocking = operations.blocking
        self._metrics = metrics
        self._clock = clock
        self._interval = interval
        self._usage_interval = usage_interval
        self._grace = grace
        self._chores = chores
        self._missing: dict[str, str] = {}  # why a volume's data was not there at its last sample
        self._samples: dict[str, _Sample] = {}  # the last of each volume

    async def run(self) -> None:
        """Work until cancelled; a failed look is logged and the next one comes."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self.look, self._interval))
            group.create_task(self._repeat(self.sample, min(1.0, self._usage_interval)))
            for chore, interval in self._chores:
                group.create_task(self._repeat(chore, interval))

    async def look(self) -> None:
        """Finish unmounts, notice foreign ones, collect references nobody stands behind."""
        attended = [entry for entry in self._entries.everything() if _needs_attention(entry)]
        if not attended:
            return
        as_before = await self._as_before([entry for entry in attended if self._is_settled(entry)])
        census = Census.take()
        for entry in attended:
            if entry.name in as_before:
                continue
            # If an operation is on it, the next look will do.
            if not self._operations.locks.busy(volume_of(entry.name)):
                await self._within_limit(self._attend(entry, census))

    async def sample(self) -> None:
        """Measure the volumes whose turn it is, one after the other, at once after a mount."""
        for entry in list(self._entries.volumes.values()):
            if self._is_due(entry):
                # Until it is measured it is not due again, however long that takes.
                self._samples[entry.name] = _Sample(math.inf, again=True, measured=False)
                await self._within_limit(self._measure(entry))
        for name in list(self._samples):
            known = self._entries.find(name)
            if known is None or known.place is None:
                del self._samples[name]

    def _is_due(self, entry: Entry) -> bool:
        """Whether a volume is to be measured: what is not mounted does not change after that."""
        if entry.place is None:
            return False  # nothing is there, or not yet
        last = self._samples.get(entry.name)
        if last is None:
            return True
        if last.due == math.inf:
            return False
        # What was measured is no longer there: another volume bears the name, or the data is other.
        replaced = last.measured and entry.usage is None
        if replaced or (entry.mounted and not last.again):
            return True
        return last.again and self._clock() >= last.due

    async def _within_limit(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for the work on one volume, but let it go on alone if its storage hangs."""
        task = asyncio.create_task(work)
        self._operations.track(task)
        await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
        if task.done() and (error := task.exception()) is not None:
            log.error("the janitor failed at one volume and goes on", exc_info=error)

    def _is_settled(self, entry: Entry) -> bool:
        """Whether there is nothing to be done with a volume whose mount is that of the last look.

        Of a user's own folder the mount alone does not tell whether it is the volume's.
        """
        return (
            entry.mounted
            and entry.seen is not None
            and entry.path is None
            and bool(entry.references.holds)
            and not entry.suspects
            and not self._suspects(entry)
            and entry.name not in self._host.reference_store.unsaved
        )

    async def _as_before(self, settled: Sequence[Entry]) -> set[str]:
        """Which of these have the very mount that was found to be theirs; one look for all."""
        seen = [(entry.name, entry.usable()[1].mountpoint, entry.seen) for entry in settled]

        def same() -> set[str]:
            return {name for name, at, mount in seen if mounts.lasting_id(at) == mount}

        try:
            return await self._blocking.ask("mounts", same)
        except (NoAnswer, OSError):
            return set()

    async def _attend(self, entry: Entry, census: Census) -> None:
        async with self._operations.locked_here(entry.name):
            if self._entries.find(entry.name) is entry:
                await self._attend_locked(entry, census)

    async def _attend_locked(self, entry: Entry, census: Census) -> None:
        """Look after one volume; the caller has its lock."""
        backend, place = entry.usable()
        try:
            entry.mounted, entry.seen = await self._ask(entry, partial(_looked_at, backend, place))
            held = entry.references
            if held.holds:
                held = await self._without_leaks(entry, census)
            unsaved = entry.name in self._host.reference_store.unsaved
            if held is not entry.references or not held.holds or unsaved:
                await self._uses.settle(entry, held)
        except NoAnswer as error:
            event(log, logging.DEBUG, "not looked at", volume=entry.name, failure=error)
        except (OSError, ConvoyError) as error:
            entry.not_as_it_should_be()
            event(log, logging.WARNING, "not as it should be", volume=entry.name, failure=error)

    async def _without_leaks(self, entry: Entry, census: Census) -> References:
        """The references less those that nobody stood behind at this look and at the last."""
        suspects = self._suspects(entry)
        backend, place = entry.usable()
        if suspects:
            holders = await self._ask(entry, partial(backend.holders, place, census))
            if holders:
                suspects, entry.held_at = frozenset(), self._clock()
        leaked, entry.suspects = suspects & entry.suspects, suspects
        if not leaked:
            return entry.references
        left = references.drop(entry.references, *leaked)
        count = entry.references.total - left.total
        self._metrics.leaked(count)
        event(
            log, logging.WARNING, "leaked references dropped", volume=entry.name, references=count
        )
        return left

    def _suspects(self, entry: Entry) -> frozenset[str]:
        """The mount IDs that are leaks if nobody holds the volume: long ago somebody was seen."""
        age = self._clock() - entry.held_at
        if age < self._grace:
            return frozenset()
        return frozenset(
            mount_id
            for mount_id, epoch in references.collectable(entry.references).items()
            if age >= self._grace * (LIVING_TIMES if epoch_lasts(epoch) else 1)
        )

    async def _measure(self, entry: Entry) -> None:
        """Measure a volume, and find out whether its data is there at all."""
        if entry.place is None:
            return
        backend, place = entry.usable()
        begun, mounted = self._clock(), entry.mounted
        usage, shared = None, 0
        try:
            usage, shared = await self._ask(entry, partial(_measured, entry, self._host.wall_clock))
            if entry.reason == self._missing.pop(entry.name, None):
                entry.reason = ""  # what a failed Mount said stays until one succeeds
        except Corrupt as error:
            # Without its root nothing is there, and nothing is lost.
            if await self._blocking.run(self._host.store.presence.look):
                if not entry.reason:
                    event(log, logging.WARNING, "broken", volume=entry.name, failure=error)
                entry.reason = self._missing[entry.name] = str(error)
        except (OSError, ConvoyError) as error:
            event(log, logging.DEBUG, "not measured", volume=entry.name, failure=error)
        finally:
            took = self._clock() - begun
            due = begun + max(self._usage_interval, took / SAMPLING_SHARE)
            # What is mounted changes, and the storage of what could not be measured may come back.
            measured = usage is not None
            again = mounted or not measured or bool(entry.reason)
            self._samples[entry.name] = _Sample(due, again, measured)
        if usage is not None and entry.mounted is mounted:
            entry.usage = _joined(usage, entry.usage)
            promised = backend.promised(place.spec)
            if self._entries.find(entry.name) is entry:
                own = (usage.allocated or 0) - shared
                self._host.ledger.record(entry.name, promised, own)

    async def _ask(self, entry: Entry, call: Callable[[], T]) -> T:
        """Look at a volume; raises NoAnswer rather than to wait for storage that hangs."""
        threads = await self._operations.threads(entry.name)
        return await threads.ask(entry.name, call)

    async def _repeat(self, look: Callable[[], Awaitable[None]], interval: float) -> None:
        while True:
            try:
                if not self._host.store.presence.away:
                    await look()
            except Exception:
                # Without the root all looks fail, which is told elsewhere.
                if await self._blocking.run(self._host.store.presence.look):
                    log.exception("the janitor failed and goes on")
            await asyncio.sleep(interval)


def _looked_at(backend: Backend, place: Place) -> tuple[bool, int | None]:
    """Whether a volume is mounted, and if so by which mount."""
    mount = mounts.lasting_id(place.mountpoint)
    is_mounted = backend.is_mounted(place)
    return is_mounted, mount if is_mounted else None


def _joined(new: Usage, old: Usage | None) -> Usage:
    """A sample that could not look inside keeps what the last look saw, and that look's age."""
    if new.used is not None or old is None or old.used is None:
        return new
    return old.model_copy(update={"allocated": new.allocated})


def _measured(entry: Entry, clock: Callable[[], float]) -> tuple[Usage, int]:
    """What a volume uses, and what of that it shares; raises Corrupt if its data is not there."""
    backend, place = entry.usable()
    backend.check(place)
    return backend.usage(place, clock()), _shared(entry)


def _shared(entry: Entry) -> int:
    """Bytes of an image that are others' too: the first write to each takes more of the host."""
    backend, place = entry.usable()
    if not backend.promised(place.spec):
        return 0
    if not entry.snapshots and place.spec.source is None:
        return 0
    found = power(backend, entry.name).shares(place)
    return found.shared if found else 0


def _needs_attention(entry: Entry) -> bool:
    """Whether something is mounted, held or half unmounted; most volumes are not."""
    return entry.place is not None and (
        entry.mounted or entry.lingering or bool(entry.references.holds)
    )
