"""The verbs on schedules: set, list, inspect, remove; what is due is run by upkeep/scheduler.py."""

import logging
from collections.abc import Mapping

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.timetable import Timetable, expression_of, ran_of
from convoy_py.engine.running.mirror import rerecord
from convoy_py.engine.running.operations import Operations
from convoy_py.engine.steps.host import Host
from convoy_py.engine.verbs.repositories import Repositories
from convoy_py.errors import Invalid, NotFound, Unavailable, Unsupported
from convoy_py.logs import event
from convoy_py.models.names import NameKind, kind_of
from convoy_py.models.schedule import ScheduleView, Task, TaskView
from convoy_py.models.volume import SCHEDULE, UNSCHEDULED, Options, option_of
from convoy_py.restic.retention import Policy
from convoy_py.state.formats import Unreadable
from convoy_py.state.records import Ran, Record, Runs, timestamp

log = logging.getLogger("convoy.schedules")


class Schedules:
    """The schedules of one daemon's volumes: a part of their records."""

    def __init__(
        self,
        operations: Operations,
        host: Host,
        repositories: Repositories,
        timetable: Timetable,
    ) -> None:
        self._operations = operations
        self._entries = operations.entries
        self._host = host
        self._repositories = repositories
        self.timetable = timetable

    def views(self) -> list[ScheduleView]:
        """All that there are, by the names of their volumes."""
        return [
            self._view(entry)
            for _, entry in sorted(self._entries.volumes.items())
            if entry.spec and entry.spec.is_scheduled
        ]

    def inspect(self, volume: str) -> ScheduleView:
        """That of one volume; raises NotFound where it has none."""
        entry = self._volume(volume)
        if not entry.volume_record().spec.is_scheduled:
            raise NotFound(f"volume {volume} has no schedule: `convoy schedule set` gives it one")
        return self._view(entry)

    async def set(self, volume: str, changes: Mapping[str, str | bool | None]) -> ScheduleView:
        """Change what is given of a schedule, by the fields of Options; None takes it away."""
        self._volume(volume)
        work = self._set(volume, changes)
        return await self._operations.bounded(volume, "schedule", work)

    async def remove(self, volume: str) -> None:
        """Do nothing by itself any more with a volume; what was made stays."""
        self.inspect(volume)
        await self._operations.bounded(volume, "schedule", self._remove(volume))

    def settled(self, options: Options) -> Options:
        """The options with what a schedule needs filled in; raises Invalid, NotFound."""
        if options.schedule_keep is not None:
            try:
                Policy.parse(options.schedule_keep)
            except ValueError as error:
                raise Invalid(f"option schedule.keep: {error}") from None
        if options.schedule_raw is False:  # as if nothing was said, whatever the backend
            options = options.model_copy(update={"schedule_raw": None})
        if options.schedule_backup is not None:
            chosen = self._repositories.chosen(options.schedule_to or "")
            return options.model_copy(update={"schedule_to": chosen.name})
        if options.schedule_to is not None:
            raise Invalid("option schedule.to needs schedule.backup: when backups are made")
        if options.schedule_prove is not None:
            raise Invalid("option schedule.prove needs schedule.backup: these backups are proven")
        if options.schedule_raw is not None:
            raise Invalid("option schedule.raw needs schedule.backup: what these backups are of")
        if options.schedule_snapshot is None:
            for key in sorted(options.given().keys() & set(SCHEDULE)):
                told = option_of(key)
                raise Invalid(f"option {told} needs schedule.snapshot or schedule.backup")
        return options

    def begin(self, entry: Entry, *changed: Task) -> bool:
        """Let tasks begin now, if nothing is known of when they did; whether there were any.

        What has `changed` begins anew, what became of it before is known still.
        """
        record, runs = entry.volume_record(), entry.runs
        found = runs or Runs(volume=record.uuid)
        now = self._host.passed.reading()
        for task in Task:
            ran = ran_of(entry, task)
            if not expression_of(entry, task):
                new = None
            elif ran is None:
                new = Ran(since=now)
            elif task in changed or ran.since.wall > now.wall:  # the clock was set back
                new = ran.model_copy(update={"since": now})
            else:
                new = ran
            found = found.model_copy(update={task.value: new})
        entry.runs = found
        return found != runs

    async def record(self, entry: Entry) -> None:
        """Keep what became of a volume's schedule; that this fails costs nobody anything."""
        if entry.runs is None or self._entries.volumes.get(entry.name) is not entry:
            return
        save = self._host.run_store.save
        try:
            await self._operations.blocking.run(save, entry.name, entry.runs)
        except (OSError, Unreadable, Unavailable) as error:
            event(log, logging.WARNING, "results not kept", volume=entry.name, failure=error)

    async def _set(self, volume: str, changes: Mapping[str, str | bool | None]) -> ScheduleView:
        async with self._operations.locked(volume):
            entry = self._volume(volume)
            record = entry.volume_record()
            before = {key: getattr(record.spec, key) for key in SCHEDULE}
            wanted = {**before, **changes}
            if not wanted["schedule_backup"]:
                ours = ("schedule_to", "schedule_prove", "schedule_raw")
                wanted |= {key: changes.get(key) for key in ours}
            options = self.settled(Options.model_validate(wanted))
            if options.schedule_raw:
                self._host.refuse_others(entry.usable()[0], options)
            if not (options.schedule_snapshot or options.schedule_backup):
                raise Invalid(
                    f"volume {volume}: say when, for snapshots or for backups (or take all away: "
                    f"`convoy schedule remove {volume}`)"
                )
            after = {key: getattr(options, key) for key in SCHEDULE}
            await self._rerecord(entry, record, after)
            if before["schedule_to"] not in (None, after["schedule_to"]) and entry.runs:
                # What is in another repository says nothing of this one.
                entry.runs = entry.runs.model_copy(update={"backup": None, "prove": None})
            changed = [t for t in Task if before[f"schedule_{t}"] != after[f"schedule_{t}"]]
            self.begin(entry, *changed)
            await self.record(entry)
        self._entries.rescheduled.set()
        return self._view(entry)

    async def _remove(self, volume: str) -> None:
        async with self._operations.locked(volume):
            entry = self._volume(volume)
            await self._rerecord(entry, entry.volume_record(), UNSCHEDULED)
            entry.runs = None
            try:
                await self._operations.blocking.run(self._host.run_store.forget, volume)
            except (OSError, Unavailable) as error:
                event(log, logging.WARNING, "results not deleted", volume=volume, failure=error)

    async def _rerecord(
        self, entry: Entry, record: Record, schedule: Mapping[str, str | bool | None]
    ) -> None:
        spec = record.spec.model_copy(update=dict(schedule))
        changed = record.model_copy(update={"spec": spec})
        await rerecord(self._operations, self._host, entry, changed)

    def _volume(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if kind_of(name) is NameKind.SNAPSHOT:
            raise Unsupported(f"{name} is a snapshot; only volumes have schedules")
        return entry

    def _view(self, entry: Entry) -> ScheduleView:
        spec = entry.volume_record().spec
        return ScheduleView(
            volume=entry.name,
            snapshot=self._task(entry, Task.SNAPSHOT),
            backup=self._task(entry, Task.BACKUP),
            prove=self._task(entry, Task.PROVE),
            to=spec.schedule_to or "",
            keep=spec.schedule_keep or "",
            before=tuple((spec.schedule_before or "").splitlines()),
            after=tuple((spec.schedule_after or "").splitlines()),
            pause=bool(spec.schedule_pause),
            stop=bool(spec.schedule_stop),
            raw=bool(spec.schedule_raw),
        )

    def _task(self, entry: Entry, task: Task) -> TaskView | None:
        if not (expression := expression_of(entry, task)):
            return None
        ran, slot = ran_of(entry, task), self.timetable.next(entry, task)
        return TaskView(
            expression=expression,
            next=timestamp(slot.due) if slot else None,
            running=(entry.volume_record().uuid, task) in self.timetable.running,
            last=ran.last if ran else None,
            good=ran.good if ran else None,
            failures=ran.failures if ran else 0,
        )
