"""Deletes in the background what was taken away: a Remove does not wait for a large tree."""

import asyncio
import logging

from convoy_py.backends.base import Place
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.volumes import Steps
from convoy_py.logs import event

log = logging.getLogger("convoy.engine")

# How long whoever removed something waits for its deletion.
PATIENCE_SECONDS = 1.0
# Deletions at a time: slow ones must not take all the threads.
AT_A_TIME = 4


class Deletions:
    """The deletions of one daemon; what it does not get to, the next start does."""

    def __init__(self, operations: Operations, steps: Steps) -> None:
        self._operations = operations
        self._steps = steps
        self._running: set[asyncio.Task[bool]] = set()
        self._turns = asyncio.Semaphore(AT_A_TIME)

    @property
    def pending(self) -> bool:
        return bool(self._running)

    async def settled(self, seconds: float | None = None) -> None:
        """Wait for those that have begun."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    def begin(self, place: Place) -> None:
        """Begin to delete what was retired."""
        _ = self.begun(place)

    def begun(self, place: Place) -> asyncio.Task[bool]:
        """The same; the task tells whether that could be done."""
        task = asyncio.create_task(self._delete(place))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        self._operations.track(task)
        return task

    async def delete(self, place: Place) -> None:
        """The same, and wait a moment for it."""
        await asyncio.wait({self.begun(place)}, timeout=PATIENCE_SECONDS)

    async def _delete(self, place: Place) -> bool:
        try:
            async with self._turns:
                await self._operations.blocking.run(self._steps.destroy, place)
        except Exception as error:  # noqa: BLE001 - whatever lay in the volume, the daemon goes on
            event(log, logging.WARNING, "delete at next start", volume=place.name, failure=error)
            return False
        return True
