"""The volumes in memory, and how what changes them runs: one at a time, to its end, within limits.

Changes of one volume are serialised by its lock; a repeat waits for what is running and then finds
it done, which is how it joins. Who has a lock waits neither for another nor for long work: so
nothing can wait in a circle, nor an Unmount for what another volume does. Work goes on when the
client has gone or the time is up. Reads are from memory, without a lock.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, ParamSpec, Protocol, TypeVar

from convoy_py.engine.memory.entries import Entries
from convoy_py.engine.memory.entry import Entry, Work
from convoy_py.engine.running.locks import Locks
from convoy_py.engine.running.threads import Blocking, Threads
from convoy_py.errors import (
    ConvoyError,
    StillRunning,
    Unavailable,
    failed,
)
from convoy_py.logs import event
from convoy_py.models.names import NameKind, kind_of, volume_of

log = logging.getLogger("convoy.engine")
P = ParamSpec("P")
T = TypeVar("T")

# Docker gives a managed plugin 30 s; an answer must be on its way before that.
TIME_LIMIT_SECONDS = 25.0
# For so long a call waits for what it can do without.
PATIENCE_SECONDS = 2.0


class Claims(Protocol):
    """What a lock brings with it on a root that several hosts share; see running/sharing.py."""

    def claimed(self, name: str) -> AbstractAsyncContextManager[None]: ...
    async def refuse_others(self, name: str) -> None: ...
    async def alone(self, name: str) -> None: ...
    async def revisit(self, name: str) -> None: ...
    async def look(self, name: str) -> None: ...


class Locked:
    """The locks that `locked` has taken."""

    def __init__(self) -> None:
        self.stacks: dict[str, AsyncExitStack] = {}

    async def release(self, *names: str) -> None:
        """Give some locks back before the others; they are not to be taken again meanwhile."""
        for name in names:
            await self.stacks[volume_of(name)].aclose()


class Operations:
    """What the verbs of all kinds have in common."""

    def __init__(
        self,
        blocking: Blocking,
        *,
        time_limit: float = TIME_LIMIT_SECONDS,
        refuse: Callable[[], None] = lambda: None,
    ) -> None:
        """`refuse` raises, in a worker thread, what keeps everything from being done just now."""
        self.blocking = blocking
        self._refuse = refuse
        self.locks = Locks()
        self.entries = Entries()
        self.time_limit = time_limit
        self.claims: Claims | None = None  # the root is this daemon's alone
        self._ready = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._aside: set[asyncio.Task[Any]] = set()  # of which only `drain` knows
        self._stopping = False

    # Life

    def open(self, entries: dict[str, Entry]) -> None:
        """Take the volumes that recovery found, and begin to answer."""
        self.entries.volumes = entries
        self.entries.rescheduled.set()
        self._ready.set()

    async def pause(self, seconds: float) -> bool:
        """Let new calls wait until `open`, and wait for those in flight; whether all ended."""
        self._ready.clear()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        return not self._tasks

    async def ready(self) -> None:
        """Return once the records have been read."""
        await self._ready.wait()

    def track(self, task: asyncio.Task[Any], *, aside: bool = False) -> None:
        """Have `drain` wait for a piece of work; and `pause`, unless it touches no volume."""
        tasks = self._aside if aside else self._tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Refuse new changes and wait for those in flight."""
        self._stopping = True
        if tasks := self._tasks | self._aside:
            await asyncio.wait(tasks, timeout=seconds)

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def refuse_when_stopping(self, name: str) -> None:
        if self._stopping:
            what = f"volume {name}: " if name else ""
            raise Unavailable(f"{what}the daemon is stopping; repeat the command")

    # Running

    @asynccontextmanager
    async def locked(self, *names: str) -> AsyncIterator[Locked]:
        """The locks of the volumes of these names; none of them while one has to be waited for.

        On a shared root their claims, too: raises VolumeElsewhere.
        """
        async with self.locked_here(*names) as locked:
            if self.claims is not None:
                for name, stack in locked.stacks.items():
                    await stack.enter_async_context(self.claims.claimed(name))
            yield locked

    @asynccontextmanager
    async def locked_here(self, *names: str) -> AsyncIterator[Locked]:
        """The locks alone, for what this host uses and so has the claims of; see `let_go`."""
        wanted = sorted({volume_of(name) for name in names})
        first = wanted[0]
        while True:
            async with AsyncExitStack() as stack:
                locked = Locked()
                for name in (first, *(name for name in wanted if name != first)):
                    if name != first and self.locks.busy(name):
                        first = name
                        break
                    one = await stack.enter_async_context(AsyncExitStack())
                    await one.enter_async_context(self.locks.locked(name))
                    locked.stacks[name] = one
                else:
                    yield locked
                    return

    @asynccontextmanager
    async def locked_idle(self, *names: str) -> AsyncIterator[Locked]:
        """The same, once no long work goes on with what bears these names."""
        async with self._locked_when(lambda: self._work_on(names), names) as locked:
            yield locked

    @asynccontextmanager
    async def locked_mountable(self, name: str) -> AsyncIterator[Locked]:
        """The same, once no long work needs the volume, or the snapshot's volume, to be still."""
        async with self._locked_when(lambda: self._still_work(name), (name,)) as locked:
            yield locked

    @asynccontextmanager
    async def _locked_when(
        self, work_in_the_way: Callable[[], Work | None], names: Sequence[str]
    ) -> AsyncIterator[Locked]:
        while True:
            async with self.locked(*names) as locked:
                work = work_in_the_way()
                if work is None:
                    yield locked
                    return
            await work.ended.wait()

    def _work_on(self, names: Sequence[str]) -> Work | None:
        for name in names:
            found = self.entries.find(name)
            if work := (found.work if found else None) or self._still_work(name):
                return work
        return None

    def _still_work(self, name: str) -> Work | None:
        volume = self.entries.volumes.get(volume_of(name))
        # A private clone is a copy that nothing ties to its volume.
        if (
            volume is None
            or kind_of(name) is NameKind.CLONE
            or volume.work is None
            or not volume.work.still
        ):
            return None
        return volume.work

    async def let_go(self, name: str) -> None:
        """Let other hosts have what is used here no more; waits a moment, and goes on alone."""
        if self.claims is not None:
            task = asyncio.create_task(self._let_go(self.claims, volume_of(name)))
            self.track(task)
            await asyncio.wait({task}, timeout=PATIENCE_SECONDS)

    async def _let_go(self, claims: Claims, name: str) -> None:
        async with self.locks.locked(name):
            await claims.revisit(name)

    async def seek(self, name: str) -> None:
        """Know of a volume that another host has just made; waits a moment for its storage."""
        name = volume_of(name)
        if self.claims is not None and name not in self.entries.volumes:
            task = asyncio.create_task(self._seek(self.claims, name))
            self.track(task, aside=True)
            await asyncio.wait({task}, timeout=PATIENCE_SECONDS)

    async def _seek(self, claims: Claims, name: str) -> None:
        async with self.locks.locked(name):
            try:
                await claims.look(name)
            except (OSError, ConvoyError) as error:
                event(log, logging.DEBUG, "not looked for", volume=name, failure=error)

    async def put_right(
        self, volume: Entry, sweep: Callable[P, None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Have a blocking step take away what was half done with a volume when a daemon ended.

        What cannot be done now, or is not where it was any more, is left to the next start.
        """
        try:
            async with self.locked_idle(volume.name):
                if self.entries.find(volume.name) is not volume:
                    return
                event(log, logging.WARNING, "swept: it was half done", volume=volume.name)
                await self.do(volume.name, "sweep", sweep, *args, **kwargs)
        except ConvoyError as error:
            event(log, logging.WARNING, "sweep", volume=volume.name, failure=error)

    async def bounded(
        self,
        name: str,
        operation: str,
        work: Coroutine[Any, Any, T],
        undo: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        """Run `work` to its end, but wait for it only as long as Docker may wait.

        Work that ends after its caller was told StillRunning is undone by `undo`, if there is one.
        """
        try:
            self.refuse_when_stopping(name)
        except Unavailable:
            work.close()
            raise
        task = asyncio.create_task(work)
        self.track(task)
        await asyncio.wait({task}, timeout=self.time_limit)
        if task.done():
            return task.result()
        self.track(asyncio.create_task(self._finish_late(name, operation, task, undo)))
        raise StillRunning(name, operation, self.time_limit)

    async def _finish_late(
        self,
        name: str,
        operation: str,
        task: asyncio.Task[Any],
        undo: Callable[[], Awaitable[None]] | None,
    ) -> None:
        try:
            await task
            event(log, logging.INFO, f"{operation} done late", volume=name)
            if undo is not None:
                await undo()
        except ConvoyError as error:
            event(log, logging.WARNING, f"{operation} failed late", volume=name, failure=error)

    async def threads(self, name: str) -> Threads:
        """Those for the storage on which the data of this name lies."""
        entry = self.entries.find(name)
        return await self.blocking.of(entry.path if entry else None)

    async def do(
        self,
        name: str,
        operation: str,
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a blocking step of an operation; the system's own errors are told as ours."""
        return await self.do_at(None, name, operation, call, *args, **kwargs)

    async def do_at(
        self,
        at: str | None,
        name: str,
        operation: str,
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same where it has to do with the folder `at`, if any, and not with the name's own."""
        threads = await self._threads(at, name)
        with translated(name, operation):
            return await threads.run(self._unless_refused(call, *args, **kwargs))

    async def do_long(
        self,
        name: str,
        operation: str,
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As `do`, for a step that may take minutes."""
        return await self.do_long_at(None, name, operation, call, *args, **kwargs)

    async def do_long_at(
        self,
        at: str | None,
        name: str,
        operation: str,
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As `do_at`, for a step that may take minutes."""
        threads = await self._threads(at, name)
        with translated(name, operation):
            return await threads.run_long(self._unless_refused(call, *args, **kwargs))

    async def _threads(self, at: str | None, name: str) -> Threads:
        return await (self.blocking.of(at) if at else self.threads(name))

    def _unless_refused(
        self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Callable[[], T]:
        def checked() -> T:
            self._refuse()
            return call(*args, **kwargs)

        return checked


@contextmanager
def translated(name: str, operation: str) -> Iterator[None]:
    """Tell the system's own errors as ours."""
    try:
        yield
    except OSError as error:
        raise failed(f"volume {name}: {operation} failed", error) from error
