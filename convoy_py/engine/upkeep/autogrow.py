"""Volumes that grow by themselves, before they are full."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.verbs.space import SpaceVerbs
from convoy_py.engine.verbs.uses import Uses
from convoy_py.errors import ConvoyError, NoAnswer
from convoy_py.linux import filesystems
from convoy_py.linux.filesystems import Space
from convoy_py.logs import event
from convoy_py.metrics import Metrics
from convoy_py.models.sizes import format_size
from convoy_py.models.volume import Spec

log = logging.getLogger("convoy.space")

# A volume grows when less than this part of it is free, by this part of its size.
NEARLY_FULL = 0.1
GROWTH = 0.25
# Seconds between two looks, and for how many more there must be room at the pace of the last.
LOOK_SECONDS = 0.1
AHEAD_SECONDS = 2.0
# Seconds that a volume has to say how full it is, lest the others become full meanwhile.
PATIENCE_SECONDS = 1.0
# Seconds before growing is tried again where it did not succeed.
RETRY_SECONDS = 30.0


class Autogrow:
    """The growth of one daemon's volumes with the option `autogrow`."""

    def __init__(
        self,
        operations: Operations,
        uses: Uses,
        space: SpaceVerbs,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives seconds that never go back."""
        self._operations = operations
        self._entries = operations.entries
        self._uses = uses
        self._space = space
        self._metrics = metrics
        self._clock = clock
        self._not_before: dict[str, float] = {}
        self._seen: dict[str, tuple[float, Space]] = {}  # when the last look was, what it found

    async def watch(self) -> None:
        """Look often while there is a volume to look at; else await one."""
        while True:
            if any(map(_grows_by_itself, self._entries.volumes.values())):
                await self.grow_the_full()
                await asyncio.sleep(LOOK_SECONDS)
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
                entry.name, partial(filesystems.space, backend.exposed(place)), PATIENCE_SECONDS
            )
            now = self._clock()
            self._seen[entry.name] = now, space
            wanted = _wanted(spec, space, now, before)
            if wanted is None:
                return
            target = spec.size if growing else min(spec.autogrow, wanted)
            size, pending = await self._space.resize(entry.name, target)
        except NoAnswer:
            return  # the others are not to wait for it
        except (ConvoyError, OSError) as error:
            self._not_before[entry.name] = self._clock() + RETRY_SECONDS
            event(log, logging.WARNING, "cannot grow by itself", volume=entry.name, failure=error)
            self._metrics.grown("failed")
            return
        if pending:
            self._not_before[entry.name] = self._clock() + RETRY_SECONDS
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
    return max(0, count) / seconds * AHEAD_SECONDS if seconds > 0 else 0.0


def _grows_by_itself(entry: Entry) -> bool:
    return entry.mounted and entry.spec is not None and entry.spec.autogrow is not None
