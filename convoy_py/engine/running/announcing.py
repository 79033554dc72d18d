"""Tells whoever listens of each run that came to its end: of a schedule, or a backup by hand."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from convoy_py.engine.running.operations import Operations
from convoy_py.errors import Cancelled, ConvoyError
from convoy_py.models.backup import BackupView
from convoy_py.models.schedule import FinishedRun, Task
from convoy_py.state.records import timestamp

log = logging.getLogger("convoy.schedules")
INTERNAL = "internal error; the daemon's log has the details"
Listener = Callable[[FinishedRun], Coroutine[Any, Any, None]]


class Announcing:
    """Who listens is a piece of work of its own: nobody waits for it, and it costs nobody else."""

    def __init__(self, operations: Operations, wall_clock: Callable[[], float]) -> None:
        self._operations = operations
        self._wall_clock = wall_clock
        self._listeners: list[Listener] = []
        self._failures: Counter[tuple[str, str]] = Counter()  # of runs by hand, by their key

    def listen(self, listener: Listener) -> None:
        """Have a coroutine called with each run from now on; every wait in it needs a limit."""
        self._listeners.append(listener)

    def tell(self, run: FinishedRun) -> None:
        for listener in self._listeners:
            self._operations.track(asyncio.create_task(_told(listener, run)), aside=True)

    @contextmanager
    def by_hand(self, volumes: Mapping[str, str], repository: str) -> Iterator[list[BackupView]]:
        """Tell how backups by hand end, of volumes by name with their uuids.

        Those that are good are put into the list; of the others, or if there are none of all, it is
        told what the block raises. What was cancelled is not told of.
        """
        done: list[BackupView] = []
        began, started = timestamp(self._wall_clock()), time.monotonic()
        error = ""
        try:
            yield done
        except (Cancelled, asyncio.CancelledError):
            volumes = {}
            raise
        except Exception as failure:
            error = str(failure) if isinstance(failure, ConvoyError) else INTERNAL
            raise
        finally:
            good = {view.volume: view for view in done}
            bad = (volumes.keys() - good.keys() or volumes.keys()) if error else set()
            for name, key in volumes.items():
                view = good.get(name)
                run = FinishedRun(
                    task=Task.BACKUP,
                    volume=name,
                    volume_id=key,
                    repository=repository,
                    due=began,
                    began=began,
                    seconds=round(time.monotonic() - started, 3),
                    what=view.url if view else "",
                    size=view.size if view else 0,
                    added=view.added if view else 0,
                    error=error if name in bad else "",
                )
                self._tell_counted(run)

    def _tell_counted(self, run: FinishedRun) -> None:
        key = (run.volume_id, run.repository)
        before = self._failures[key]
        self._failures[key] = before + 1 if run.error else 0
        counted = {"failures": self._failures[key], "failed_before": before}
        self.tell(run.model_copy(update=counted))


async def _told(listener: Listener, run: FinishedRun) -> None:
    try:
        await listener(run)
    except Exception:
        log.exception("who was told of the %s of %s failed", run.task, run.volume)
