"""The verbs on space: resize, autogrow, trim."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from convoy_py.backends.base import Backend, Resizable
from convoy_py.engine.entry import Entry
from convoy_py.engine.host import Host
from convoy_py.engine.jobs import Jobs, Progress
from convoy_py.engine.mirror import rerecord
from convoy_py.engine.operations import Operations
from convoy_py.engine.room import Room
from convoy_py.engine.uses import Uses
from convoy_py.errors import ConvoyError, NoAnswer, NoSpace, Unavailable, Unsupported
from convoy_py.linux import filesystems
from convoy_py.linux.filesystems import Space
from convoy_py.logs import event
from convoy_py.metrics import Metrics
from convoy_py.models.sizes import format_size
from convoy_py.models.volume import Spec

log = logging.getLogger("convoy.sizes")

# A volume grows when less than this part of it is free, by this part of its size.
NEARLY_FULL = 0.1
GROWTH = 0.25
# Seconds between two looks, and for how many more there must be room at the pace of the last.
LOOK = 0.1
AHEAD = 2.0
# Seconds that a volume has to say how full it is, lest the others become full meanwhile.
PATIENCE = 1.0
# Seconds before growing is tried again where it did not succeed.
RETRY = 30.0


class Sizes:
    """The sizes of one daemon's volumes. `clock` gives seconds that never go back."""

    def __init__(
        self,
        operations: Operations,
        uses: Uses,
        room: Room,
        host: Host,
        jobs: Jobs,
        *,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._host = host
        self._jobs = jobs
        self._room = room
        self._uses = uses
        self._metrics = metrics
        self._clock = clock
        self._not_before: dict[str, float] = {}
        self._seen: dict[str, tuple[float, Space]] = {}  # when the last look was, what it found

    async def resize(self, name: str, size: int, *, by: bool = False) -> tuple[int, str]:
        """Make a volume larger: at once, or where that cannot be at its next mount.

        With `by`, so many bytes larger than it is. Returns (size in bytes, why it is to wait or
        ""). Raises Unsupported for a smaller size, InvalidOption, NoSpace.
        """
        return await self._room.made_for(partial(self._resize, name, size, by=by))

    async def _resize(self, name: str, size: int, *, by: bool) -> tuple[int, str]:
        async with self._operations.hold_idle(name):
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
        async with self._operations.hold_idle(name) as held:
            entry = self._entries.get(name)
            backend, place = entry.usable()
            power = _resizable(backend, name)
            async with self._uses.steady("a trim", held, entry):
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
                async with self._operations.hold_idle(name):
                    pass
        except TimeoutError:
            raise Unavailable(f"volume {name}: something else is being done with it") from None

    async def trim_in_background(self) -> None:
        """The chore of the setting trim_interval."""
        trimmed, _ = await self._jobs.run("trim", "--all", partial(self.trim_all, mounted=True))
        told = format_size(sum(trimmed.values()))
        event(log, logging.INFO, "trimmed", volumes=len(trimmed), trimmed=told)

    async def watch(self) -> None:
        """The chore of autogrow: look often while there is a volume to look at; else await one."""
        while True:
            if any(map(_grows_by_itself, self._entries.volumes.values())):
                await self.grow_the_full()
                await asyncio.sleep(LOOK)
            else:
                self._uses.mounted.clear()
                await self._uses.mounted.wait()

    async def grow_the_full(self) -> None:
        """Grow what is mounted, nearly full, and may grow by itself; the chore of autogrow."""
        seen, self._seen = self._seen, {}
        for entry in list(self._entries.volumes.values()):
            if _grows_by_itself(entry) and self._may_try(entry.name):
                await self._grow_if_full(entry, seen.get(entry.name))

    async def _grow_if_full(self, entry: Entry, before: tuple[float, Space] | None) -> None:
        spec = entry.spec
        assert spec is not None
        assert spec.autogrow is not None
        assert spec.size is not None
        growing = spec.grows_from is not None  # what was begun is to be completed first
        if entry.doing or (spec.size >= spec.autogrow and not growing):
            return
        backend, place = entry.usable()
        try:
            space = await self._operations.blocking.ask(
                entry.name, partial(filesystems.space, backend.exposed(place)), PATIENCE
            )
            now = self._clock()
            self._seen[entry.name] = now, space
            wanted = _wanted(spec, space, now, before)
            if wanted is None:
                return
            target = spec.size if growing else min(spec.autogrow, wanted)
            size, pending = await self.resize(entry.name, target)
        except NoAnswer:
            return  # the others are not to wait for it
        except (ConvoyError, OSError) as error:
            self._not_before[entry.name] = self._clock() + RETRY
            event(log, logging.WARNING, "cannot grow by itself", volume=entry.name, failure=error)
            self._metrics.grown("failed")
            return
        if pending:
            self._not_before[entry.name] = self._clock() + RETRY
        if pending and growing:
            return  # as was told already
        self._metrics.grown("pending" if pending else "ok")
        event(
            log,
            logging.INFO,
            "grew by itself",
            volume=entry.name,
            size=format_size(size),
            most=format_size(spec.autogrow),
            pending=pending,
        )

    def _may_try(self, name: str) -> bool:
        return self._clock() >= self._not_before.get(name, 0.0)

    async def _grow(self, entry: Entry, power: Resizable, old: Spec, new: Spec) -> None:
        """Record what is wanted, promise the space, grow, and record that it is done."""
        name, record = entry.name, entry.volume_record()
        backend, _ = entry.usable()
        more = backend.promised(new) - backend.promised(old)
        done, failure = False, None
        with self._host.ledger.extend(name, more, preallocated=new.sparse is False):
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


def _wanted(spec: Spec, space: Space, now: float, before: tuple[float, Space] | None) -> int | None:
    """The size that a volume is to grow to for want of bytes, or of inodes; None if it has room.

    Growing that would give no inodes, for the limit is too near, is not done for their sake.
    """
    assert spec.size is not None
    assert spec.autogrow is not None
    then, at_last = before or (now, space)
    bytes_soon = _used_soon(at_last.available - space.available, now - then)
    inodes_soon = _used_soon(at_last.inodes_free - space.inodes_free, now - then)
    step = spec.size + int(max(spec.size * GROWTH, bytes_soon))
    few_inodes = space.inodes_free < max(space.inodes * NEARLY_FULL, inodes_soon)
    if few_inodes and (enough := max(step, spec.size_for_inodes())) <= spec.autogrow:
        return enough
    return step if space.available < max(space.size * NEARLY_FULL, bytes_soon) else None


def _used_soon(count: int, seconds: float) -> float:
    """How much will be used before long, at the pace since the look before."""
    return max(0, count) / seconds * AHEAD if seconds > 0 else 0.0


def _grows_by_itself(entry: Entry) -> bool:
    return entry.mounted and entry.spec is not None and entry.spec.autogrow is not None


def _resizable(backend: Backend, name: str) -> Resizable:
    if isinstance(backend, Resizable):
        return backend
    raise Unsupported(f"volume {name}: backend {backend.name} cannot be resized or trimmed")
