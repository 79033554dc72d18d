"""When what a schedule says is due: pure, but for what it remembers of its answers.

A moment of the schedule has come with the wall clock. It is due a little later, by a delay that
each volume of each host has for itself, so that not all of them begin at once. Of the moments that
passed while nobody looked one is due, and no more.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

from convoy_py.engine.memory.entry import Entry
from convoy_py.models.cron import following
from convoy_py.models.schedule import Task
from convoy_py.state.records import Ran, Record

# By so much at most, in seconds, and by at most this part of the time to the moment after.
LONGEST_DELAY = 600.0
DELAYED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Slot:
    """One moment of a schedule, as POSIX time in seconds."""

    moment: float  # as the expression has it
    due: float


class Timetable:
    """The schedules of one host, in the time of a zone."""

    def __init__(self, host: str, zone: tzinfo) -> None:
        self._host = host
        self._zone = zone
        self.begun = 0.0  # what was missed before then is due after it, with its delay
        self.running: set[tuple[str, Task]] = set()  # by the volume's uuid
        self._known: dict[tuple[str, Task], tuple[str, float, float, float]] = {}

    def next(self, entry: Entry, task: Task) -> Slot | None:
        """The first moment that is not done with; None if there is nothing to be done."""
        record, ran = entry.record, ran_of(entry, task)
        expression = expression_of(entry, task)
        if not isinstance(record, Record) or not expression or ran is None:
            return None
        since = ran.since.wall.timestamp()
        key = record.uuid, task
        known = self._known.get(key)
        if known is None or known[:2] != (expression, since):
            known = self._known[key] = (expression, since, *self._computed(key, expression, since))
        _, _, moment, delay = known
        return Slot(moment, max(moment, self.begun) + delay)

    def forget_others(self, entries: Iterator[Entry]) -> None:
        """Remember nothing of what is no longer there."""
        uuids = {entry.record.uuid for entry in entries if isinstance(entry.record, Record)}
        for key in [key for key in self._known if key[0] not in uuids]:
            del self._known[key]

    def local(self, moment: float) -> datetime:
        """POSIX seconds as a time of the zone."""
        return datetime.fromtimestamp(moment, self._zone)

    def _computed(
        self, key: tuple[str, Task], expression: str, since: float
    ) -> tuple[float, float]:
        first = following(expression, self.local(since))
        period = following(expression, first).timestamp() - first.timestamp()
        chance = hashlib.sha256(f"{self._host}/{key[0]}/{key[1]}".encode()).digest()
        share = int.from_bytes(chance[:4], "big") / 2**32
        return first.timestamp(), share * min(LONGEST_DELAY, period * DELAYED_SHARE)


def expression_of(entry: Entry, task: Task) -> str:
    """When a task of a volume is to be done; "" if never."""
    if not isinstance(entry.record, Record):
        return ""
    return getattr(entry.record.spec, f"schedule_{task}") or ""


def ran_of(entry: Entry, task: Task) -> Ran | None:
    """What is known of the runs of a task."""
    found: Ran | None = getattr(entry.runs, task, None)
    return found
