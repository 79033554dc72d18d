"""Long work as jobs: started, followed, cancelled. A job survives nothing and leaves nothing."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from convoy_py.engine.running.operations import Operations
from convoy_py.errors import Cancelled, Conflict, ConvoyError, Kind, NotFound
from convoy_py.logs import event
from convoy_py.models.job import JobState, JobView
from convoy_py.state.records import timestamp

log = logging.getLogger("convoy.jobs")
T = TypeVar("T")

# So many jobs that have ended are remembered.
REMEMBERED_JOBS = 100


class Progress:
    """What a job's blocking steps are given as their `step`; it may be called from any thread."""

    def __init__(self, whole: "Progress | None" = None) -> None:
        """`whole` is of the job that this is a part of: it is cancelled with that."""
        self.done = 0
        self.total = 0
        self.note = ""
        self._cancelled = ""
        self._whole = whole

    @property
    def cancelled(self) -> str:
        """Why; empty if it is not."""
        return self._cancelled or (self._whole.cancelled if self._whole else "")

    @cancelled.setter
    def cancelled(self, why: str) -> None:
        self._cancelled = why

    def go_alone(self) -> None:
        """Be no part any more; what was cancelled by now stays so."""
        self._cancelled, self._whole = self.cancelled, None

    def __call__(self, count: int) -> None:
        """Count bytes as done; raises Cancelled if the job is to end."""
        self.done += count
        if why := self.cancelled:
            raise Cancelled(why)


class Job(Generic[T]):
    """One piece of long work; `result` once it is done."""

    def __init__(
        self, number: int, verb: str, volume: str, started: float, progress: Progress
    ) -> None:
        self.id = str(number)
        self.verb = verb
        self.volume = volume
        self.progress = progress
        self._started = started
        self._ended: float | None = None
        self._error: Exception | None = None
        self.task: asyncio.Task[T] | None = None

    @property
    def what(self) -> str:
        return f"{self.verb} {self.volume}".rstrip()

    @property
    def state(self) -> JobState:
        if self._ended is None:
            return JobState.RUNNING
        if self._error is None:
            return JobState.DONE
        return JobState.CANCELLED if isinstance(self._error, Cancelled) else JobState.FAILED

    @property
    def result(self) -> T:
        """What the work came to; raises what it raised."""
        assert self.task is not None
        return self.task.result()

    def end(self, now: float, error: Exception | None) -> None:
        self._ended, self._error = now, error
        if error is None:
            self.progress.done = max(self.progress.done, self.progress.total)

    def view(self) -> JobView:
        error = self._error
        told, kind = "internal error; the daemon's log has the details", Kind.FAILED
        if isinstance(error, ConvoyError):
            told, kind = str(error), error.kind
        return JobView(
            id=self.id,
            verb=self.verb,
            volume=self.volume,
            state=self.state,
            started=timestamp(self._started),
            ended=None if self._ended is None else timestamp(self._ended),
            done=self.progress.done,
            total=max(self.progress.total, self.progress.done),
            note=self.progress.note if self._ended is None else "",
            error="" if error is None else told,
            kind="" if error is None else kind.value,
        )


class Jobs:
    """The jobs of one daemon. `clock` gives POSIX seconds."""

    def __init__(self, operations: Operations, clock: Callable[[], float]) -> None:
        self._operations = operations
        self._clock = clock
        self._numbers = itertools.count(1)
        self._jobs: dict[str, Job[Any]] = {}

    def start(
        self,
        verb: str,
        volume: str,
        work: Callable[[Progress], Awaitable[T]],
        progress: Progress | None = None,
    ) -> Job[T]:
        """Begin a job; raises Unavailable when the daemon is stopping.

        `progress` is of work that has begun already.
        """
        self._operations.refuse_when_stopping(volume)
        number, started = next(self._numbers), self._clock()
        job: Job[T] = Job(number, verb, volume, started, progress or Progress())
        job.task = asyncio.create_task(self._run(job, work))
        self._operations.track(job.task)
        job.task.add_done_callback(_heard)
        self._jobs[job.id] = job
        self._forget_old()
        return job

    async def run(self, verb: str, volume: str, work: Callable[[Progress], Awaitable[T]]) -> T:
        """Do a piece of work as a job, to its end."""
        job = self.start(verb, volume, work)
        assert job.task is not None
        return await asyncio.shield(job.task)

    def list(self) -> list[JobView]:
        """All that run, and the last that have ended; oldest first."""
        return [job.view() for job in self._jobs.values()]

    def get(self, job_id: str) -> Job[Any]:
        """Raises NotFound; also for a job of an earlier daemon."""
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NotFound(
                f"no such job: {job_id}; `convoy jobs` lists them (none outlives its daemon)"
            ) from None

    def cancel(self, job_id: str) -> Job[Any]:
        """Have a job end at its next step; raises NotFound, Conflict if it has ended."""
        job = self.get(job_id)
        if job.state is not JobState.RUNNING:
            raise Conflict(f"job {job_id} is {job.state.value} already")
        job.progress.cancelled = f"job {job_id} ({job.what}) was cancelled"
        return job

    def stop(self) -> None:
        """Have all jobs end, because the daemon does."""
        for job in self._jobs.values():
            job.progress.cancelled = f"{job.what} was cut off: the daemon stopped"

    async def wait(self, job: Job[Any], seconds: float) -> bool:
        """Whether a job has ended by then."""
        assert job.task is not None
        await asyncio.wait({job.task}, timeout=seconds)
        return job.task.done()

    async def _run(self, job: Job[T], work: Callable[[Progress], Awaitable[T]]) -> T:
        try:
            result = await work(job.progress)
        except Exception as error:
            job.end(self._clock(), error)
            expected = isinstance(error, ConvoyError)
            event(
                log,
                logging.WARNING if expected else logging.ERROR,
                f"job {job.verb} failed",
                failure=error,
                volume=job.volume,
                job=job.id,
            )
            raise
        job.end(self._clock(), None)
        event(log, logging.INFO, f"job {job.verb} done", volume=job.volume, job=job.id)
        return result

    def _forget_old(self) -> None:
        ended = [job.id for job in self._jobs.values() if job.state is not JobState.RUNNING]
        for job_id in ended[:-REMEMBERED_JOBS]:
            del self._jobs[job_id]


def _heard(task: asyncio.Task[Any]) -> None:
    """Whoever started it may have gone, and what it raised is told by the job."""
    with suppress(asyncio.CancelledError):
        task.exception()
