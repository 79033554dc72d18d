"""One run of schedules: a snapshot, a session's backups, or a proof; its result is kept and told.

Each volume of a session has a snapshot of its own moment: what one fails of costs no other, and one
whose snapshot takes long gets a session of its own.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.timetable import Slot, ran_of
from convoy_py.engine.running.announcing import INTERNAL, Announcing
from convoy_py.engine.running.jobs import Jobs, Progress
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.parts import BY_SCHEDULE
from convoy_py.engine.verbs.backups import Backups
from convoy_py.engine.verbs.proofs import Proofs
from convoy_py.engine.verbs.schedules import Schedules
from convoy_py.engine.verbs.snapshots import Snapshots
from convoy_py.errors import Cancelled, ConvoyError, OperationFailed, Unavailable
from convoy_py.models.names import joined, volume_of
from convoy_py.models.schedule import FinishedRun, LastRun, Task
from convoy_py.restic.retention import Policy, surplus
from convoy_py.state.records import Ran, Record, timestamp

log = logging.getLogger("convoy.schedules")

# Seconds for which the others of a session wait for one volume's snapshot.
PATIENCE_SECONDS = 60.0
_CLOCK_WAS_SET = "nothing was deleted: the clock was set since the last run"


# A snapshot's name, and what went wrong after it was taken.
Begun = tuple[str, list[str]]


@dataclass(frozen=True, eq=False)
class Turn:
    """One task of one volume whose moment has come, and the volume's record of that moment."""

    entry: Entry
    record: Record
    task: Task
    slot: Slot

    @property
    def key(self) -> tuple[str, Task]:
        return self.record.uuid, self.task

    @property
    def repository(self) -> str:
        """Where backups go; "" for a snapshot."""
        return "" if self.task is Task.SNAPSHOT else self.record.spec.schedule_to or ""


@dataclass(frozen=True)
class Made:
    """What a good run has made."""

    what: str
    size: int = 0
    added: int = 0
    notes: tuple[str, ...] = ()


class Runs:
    """What schedules do, when it is due."""

    def __init__(
        self,
        operations: Operations,
        host: Host,
        jobs: Jobs,
        schedules: Schedules,
        snapshots: Snapshots,
        *,
        backups: Backups,
        proofs: Proofs,
        announcing: Announcing,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives seconds that never go back."""
        self._operations = operations
        self._entries = operations.entries
        self._host = host
        self._jobs = jobs
        self._timetable = schedules.timetable
        self._schedules = schedules
        self._snapshots = snapshots
        self._backups = backups
        self._proofs = proofs
        self._announcing = announcing
        self._clock = clock

    async def run(self, turns: Sequence[Turn], progress: Progress) -> None:
        """Do what belongs together; raises what it failed of, once that is kept and told."""
        begun = _Stopwatch(self._host.wall_clock(), self._clock)
        if turns[0].task is Task.SNAPSHOT:
            await self._snapshot(turns[0], begun, progress)
        elif turns[0].task is Task.PROVE:
            await self._prove(turns[0], begun, progress)
        else:
            await self._back_up(turns, begun, progress)

    # Snapshots

    async def _snapshot(self, turn: Turn, begun: "_Stopwatch", progress: Progress) -> None:
        made: Made | Exception
        with self._running([turn]):
            try:
                (view,) = await self._snapshots.create(
                    [turn.entry.name],
                    "",
                    progress,
                    hooks=turn.record.spec.scheduled_hooks,
                    purpose=BY_SCHEDULE,
                )
                made = Made(joined(view.volume, view.name), notes=await self._let_go(turn))
            except Exception as error:  # noqa: BLE001 - it is told, and raised again
                made = error
            await self._settle(begun, {turn: made})

    async def _let_go(self, turn: Turn) -> tuple[str, ...]:
        """Delete those snapshots of the schedule that are not to be kept; tells of what stays."""
        entry, keep = self._current(turn)
        if entry is None or not keep:
            return ()
        volume, now = entry.name, timestamp(self._host.wall_clock())
        found = [
            _Dated(joined(volume, view.name), self._timetable.local(view.created.timestamp()))
            for view in self._snapshots.views(volume)
            if view.scheduled and view.created
        ]
        if self._clock_was_set(entry, turn.task) or any(each.time > now for each in found):
            return (_CLOCK_WAS_SET,)
        notes = []
        for each in surplus(found, Policy.parse(keep), now):
            try:
                await self._snapshots.delete(each.id)
            except ConvoyError as error:
                notes.append(f"not deleted: {error}")
        return tuple(notes)

    # Backups

    async def _back_up(
        self, turns: Sequence[Turn], begun: "_Stopwatch", progress: Progress
    ) -> None:
        repository = turns[0].repository
        begin = self._backups.begin
        progress.note = "taking snapshots"
        parts = {turn: Progress(progress) for turn in turns}
        taking = {
            asyncio.create_task(begin(turn.entry.name, repository, part)): turn
            for turn, part in parts.items()
        }
        ready, late = await asyncio.wait(taking, timeout=PATIENCE_SECONDS)
        for task in late:
            self._begin_late(taking[task], task, begun, parts[taking[task]])
        if ready:
            taken = {taking[task]: task for task in ready}
            with self._running(taken):
                await self._session(taken, begun, progress)

    def _begin_late(
        self, turn: Turn, taking: "asyncio.Task[Begun]", begun: "_Stopwatch", part: Progress
    ) -> None:
        """Go on with one alone, when its snapshot is taken, which is of the same job."""

        async def work(progress: Progress) -> None:
            with self._running([turn]):
                await asyncio.wait({taking})
                await self._session({turn: taking}, begun, progress)

        try:
            self._jobs.start("scheduled-backup", turn.entry.name, work, part)
        except Unavailable:
            self._timetable.running.discard(turn.key)
        else:
            part.go_alone()

    async def _session(
        self,
        taken: Mapping[Turn, "asyncio.Task[Begun]"],
        begun: "_Stopwatch",
        progress: Progress,
    ) -> None:
        """Back up what was taken, and let go of what is not to be kept."""
        results: dict[Turn, Made | Exception] = {}
        names: dict[str, Turn] = {}
        later: dict[Turn, list[str]] = {}
        for turn, task in taken.items():
            if (error := task.exception()) is None:
                name, later[turn] = task.result()
                names[name] = turn
            else:
                results[turn] = error if isinstance(error, Exception) else Cancelled(str(error))
        if names:
            results |= await self._stored(names, progress)
        for turn, failed in later.items():
            if failed and isinstance(results[turn], Made):
                results[turn] = OperationFailed(f"it is backed up; but {'; '.join(failed)}")
        await self._settle(begun, results)

    async def _stored(
        self, names: Mapping[str, Turn], progress: Progress
    ) -> dict[Turn, Made | Exception]:
        """Have a session back up snapshots, by name."""
        repository = next(iter(names.values())).repository
        try:
            views, problems = await self._backups.finish(list(names), repository, progress)
        except Exception as error:  # noqa: BLE001 - the same
            return dict.fromkeys(names.values(), error)
        good = {view.volume: view for view in views}
        backed_up = {volume_of(name): turn for name, turn in names.items()}
        notes = await self._forgotten(
            {volume: backed_up[volume] for volume in good}, repository, progress
        )
        results: dict[Turn, Made | Exception] = {}
        for name, turn in names.items():
            view = good.get(volume_of(name))
            if view is None:
                results[turn] = OperationFailed(_about(volume_of(name), problems))
            else:
                results[turn] = Made(view.url, view.size, view.added, notes.get(turn, ()))
        return results

    async def _forgotten(
        self, turns: Mapping[str, Turn], repository: str, progress: Progress
    ) -> dict[Turn, tuple[str, ...]]:
        """Delete what policies do not keep of volumes, by the names under which they are there.

        Tells of what stays for another reason.
        """
        notes: dict[Turn, tuple[str, ...]] = {}
        policies: defaultdict[str, dict[str, Turn]] = defaultdict(dict)
        for volume, turn in turns.items():
            entry, keep = self._current(turn)
            if entry is None or entry.name != volume or not keep:
                continue
            if self._clock_was_set(entry, turn.task):
                notes[turn] = (_CLOCK_WAS_SET,)
            else:
                policies[keep][volume] = turn
        for keep, named in policies.items():
            try:
                problems = await self._backups.forget_scheduled(
                    list(named), repository, keep, progress
                )
            except Exception as error:  # noqa: BLE001 - the backups are good all the same
                notes |= dict.fromkeys(named.values(), (f"nothing was deleted: {error}",))
            else:
                notes |= {turn: tuple(_of(volume, problems)) for volume, turn in named.items()}
        return notes

    # Proofs

    async def _prove(self, turn: Turn, begun: "_Stopwatch", progress: Progress) -> None:
        made: Made | Exception
        with self._running([turn]):
            try:
                view = await self._proofs.prove_newest(turn.entry.name, turn.repository, progress)
                made = Made(view.url, view.size)
            except Exception as error:  # noqa: BLE001 - it is told, and raised again
                made = error
            await self._settle(begun, {turn: made})

    # What became of it

    @contextmanager
    def _running(self, turns: Collection[Turn]) -> Iterator[None]:
        """However they end, the scheduler hears of it: else they would never be due again."""
        try:
            yield
        finally:
            self._timetable.running -= {turn.key for turn in turns}
            self._entries.rescheduled.set()

    def _current(self, turn: Turn) -> tuple[Entry | None, str]:
        """The volume as it is known by now, and what its schedule keeps.

        None if it is gone, has no such schedule any more, or is backed up elsewhere from now on.
        """
        for entry in self._entries.volumes.values():
            record = entry.record
            if not isinstance(record, Record) or record.uuid != turn.record.uuid:
                continue
            elsewhere = turn.repository and record.spec.schedule_to != turn.repository
            if elsewhere or ran_of(entry, turn.task) is None:
                break
            return entry, record.spec.schedule_keep or ""
        return None, ""

    def _clock_was_set(self, entry: Entry, task: Task) -> bool:
        ran = ran_of(entry, task)
        return ran is None or self._host.passed.was_set_since(ran.since)

    async def _settle(self, begun: "_Stopwatch", results: Mapping[Turn, Made | Exception]) -> None:
        """Keep and tell what became of each; raises what the first failed of."""
        for turn, result in results.items():
            if isinstance(result, Cancelled) and self._operations.is_stopping:
                continue  # the next daemon catches up
            await self._finish(turn, begun, result)
        failed = [each for each in results.values() if isinstance(each, Exception)]
        if failed:
            raise failed[0]

    async def _finish(self, turn: Turn, begun: "_Stopwatch", result: Made | Exception) -> None:
        entry, _ = self._current(turn)
        if entry is None or entry.runs is None or (ran := ran_of(entry, turn.task)) is None:
            return  # its schedule was taken away meanwhile
        outcome = self._outcome(turn, begun, result)
        now = Ran(
            since=self._host.passed.reading(),
            last=outcome,
            good=ran.good if outcome.error else outcome.began,
            failures=ran.failures + 1 if outcome.error else 0,
        )
        entry.runs = entry.runs.model_copy(update={turn.task.value: now})
        await self._schedules.record(entry)
        self._announcing.tell(
            FinishedRun(
                task=turn.task,
                volume=entry.name,
                volume_id=turn.key[0],
                failures=now.failures,
                failed_before=ran.failures,
                **dict(outcome),
            )
        )

    def _outcome(self, turn: Turn, begun: "_Stopwatch", result: Made | Exception) -> LastRun:
        made, error = Made(""), ""
        if isinstance(result, Made):
            made = result
        elif isinstance(result, ConvoyError):
            error = str(result)
        else:
            error = INTERNAL
        return LastRun(
            due=timestamp(turn.slot.moment),
            began=timestamp(begun.wall),
            seconds=round(begun.seconds, 3),
            repository=turn.repository,
            what=made.what,
            size=made.size,
            added=made.added,
            error=error,
            notes=made.notes,
        )


class _Stopwatch:
    def __init__(self, wall: float, clock: Callable[[], float]) -> None:
        self.wall = wall
        self._clock = clock
        self._begun = clock()

    @property
    def seconds(self) -> float:
        return self._clock() - self._begun


@dataclass(frozen=True)
class _Dated:
    id: str
    time: datetime


def _about(volume: str, problems: Sequence[str]) -> str:
    """What a session told of a volume, in one line."""
    return "; ".join(_of(volume, problems) or problems or ["it was not backed up"])


def _of(volume: str, problems: Sequence[str]) -> list[str]:
    return [problem for problem in problems if problem.startswith(f"{volume}: ")]
