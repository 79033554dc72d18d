"""Begins what schedules say is due, and sleeps until the next moment.

On each repository one session of ours works at a time: what becomes due meanwhile goes with the
next, and what will be due in a moment goes along. So a slow one costs its own schedules alone.
Proofs go beside them, one at a time, for each takes the room of a volume.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.timetable import Timetable
from convoy_py.engine.running.jobs import Jobs
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.host import Host
from convoy_py.engine.upkeep.runs import Runs, Turn
from convoy_py.engine.verbs.schedules import Schedules
from convoy_py.errors import Unavailable
from convoy_py.linux.alarm import Alarm
from convoy_py.models.schedule import Task

log = logging.getLogger("convoy.schedules")

# Seconds before a look that failed, which it never should, is repeated.
AGAIN_SECONDS = 60.0
# Of those, as of the backups into one repository, one goes at a time; no repository is called so.
_PROOFS = "@proofs"


class Scheduler:
    """The clockwork of one daemon; every look is one method, so that tests can call it."""

    def __init__(
        self,
        operations: Operations,
        host: Host,
        jobs: Jobs,
        timetable: Timetable,
        schedules: Schedules,
        runs: Runs,
    ) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._host = host
        self._jobs = jobs
        self._timetable = timetable
        self._schedules = schedules
        self._runs = runs
        self._busy: set[str] = set()  # repositories, and _PROOFS

    async def run(self) -> None:
        """Work until cancelled, awake only when something is due, or changes, or the clock does."""
        changed, alarm = self._entries.rescheduled, Alarm()
        loop = asyncio.get_running_loop()

        def ring() -> None:
            alarm.heard()
            changed.set()

        loop.add_reader(alarm, ring)
        try:
            self._timetable.begun = self._host.wall_clock()
            while True:
                changed.clear()
                if not alarm.set(await self._looked()):
                    await changed.wait()
        finally:
            loop.remove_reader(alarm)
            alarm.close()

    async def look(self) -> float | None:
        """Begin what is due now; returns when, in POSIX seconds, the next thing will be."""
        now, timetable = self._host.wall_clock(), self._timetable
        timetable.begun = min(timetable.begun, now)  # the clock may have been set back
        if self._host.store.presence.away:
            return None
        await self._begin_new()
        timetable.forget_others(iter(self._entries.volumes.values()))
        waiting: list[Turn] = []
        sessions: defaultdict[str, list[Turn]] = defaultdict(list)
        for turn in self._turns():
            if turn.task is Task.BACKUP:
                sessions[turn.repository].append(turn)
            elif turn.slot.due > now:
                waiting.append(turn)
            elif turn.task is Task.SNAPSHOT:
                self._begin("scheduled-snapshot", [turn])
            elif _PROOFS not in self._busy:  # else the end of that one wakes us
                self._begin("scheduled-proof", [turn], _PROOFS)
        for repository, turns in sessions.items():
            if repository in self._busy:
                continue  # the end of its session wakes us
            if any(turn.slot.due <= now for turn in turns):
                begun = [turn for turn in turns if turn.slot.moment <= now]
                self._begin("scheduled-backup", begun, repository)
            waiting += [turn for turn in turns if turn.key not in timetable.running]
        return min((turn.slot.due for turn in waiting), default=None)

    async def _looked(self) -> float | None:
        try:
            return await self.look()
        except Exception:
            log.exception("the scheduler failed and goes on")
            return self._host.wall_clock() + AGAIN_SECONDS

    async def _begin_new(self) -> None:
        """Take note of schedules that are new, and of those for which the clock was set back."""
        for entry in list(self._entries.volumes.values()):
            if _is_ours(entry) and self._schedules.begin(entry):
                await self._schedules.record(entry)

    def _turns(self) -> Iterator[Turn]:
        """What is to be done next of each schedule, but for what is going on."""
        for entry in list(self._entries.volumes.values()):
            if not _is_ours(entry):
                continue
            for task in Task:
                record, slot = entry.volume_record(), self._timetable.next(entry, task)
                if slot and (record.uuid, task) not in self._timetable.running:
                    yield Turn(entry, record, task, slot)

    def _begin(self, verb: str, turns: list[Turn], alone: str = "") -> None:
        """Start a job for what belongs together; of those that name it so one goes at a time."""
        names = ",".join(turn.entry.name for turn in turns)
        try:
            job = self._jobs.start(verb, names, partial(self._runs.run, turns))
        except Unavailable:
            return  # the daemon is stopping; the next one catches up
        self._timetable.running |= {turn.key for turn in turns}
        if alone:
            self._busy.add(alone)
        assert job.task is not None
        job.task.add_done_callback(partial(self._ended, alone))

    def _ended(self, alone: str, _: object) -> None:
        self._busy.discard(alone)
        self._entries.rescheduled.set()


def _is_ours(entry: Entry) -> bool:
    """Whether a volume has a schedule, and no other host of a shared root follows it."""
    return entry.spec is not None and entry.spec.is_scheduled and entry.leads
