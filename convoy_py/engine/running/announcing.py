"""Tells whoever listens of each run of a schedule that came to its end."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from convoy_py.engine.running.operations import Operations
from convoy_py.models.schedule import FinishedRun

log = logging.getLogger("convoy.schedules")
Listener = Callable[[FinishedRun], Coroutine[Any, Any, None]]


class Announcing:
    """Who listens is a piece of work of its own: nobody waits for it, and it costs nobody else."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Have a coroutine called with each run from now on; every wait in it needs a limit."""
        self._listeners.append(listener)

    def tell(self, run: FinishedRun) -> None:
        for listener in self._listeners:
            self._operations.track(asyncio.create_task(_told(listener, run)))


async def _told(listener: Listener, run: FinishedRun) -> None:
    try:
        await listener(run)
    except Exception:
        log.exception("who was told of the %s of %s failed", run.task, run.volume)
