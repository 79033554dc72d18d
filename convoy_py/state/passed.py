"""Time that surely passed: the age by which something may be deleted, whatever a clock is set to.

<root>/passed.json      how much it was, and what the clocks said then

A wall clock is set: by people, by NTP minutes after a boot, by a battery that died. So what is
kept for a time bears a reading of this clock instead. It counts the seconds in which the host ran,
also while no daemon did, and of a reboot what the wall clock says if that is short. What it misses
makes things live longer.
"""

import logging
import secrets
from collections.abc import Callable
from pathlib import Path

from convoy_py.linux import files
from convoy_py.logs import event
from convoy_py.state.formats import Newer, Unreadable
from convoy_py.state.records import PASSED_TIME, Moment, Passed, Reading, timestamp

log = logging.getLogger("convoy.daemon")

PASSED = "passed.json"
# Seconds between two writes; they are not synced, for all that can be lost is that something ages.
SAVE = 300.0
# A reboot takes minutes. After more the host was off, or lies elsewhere, or its clock was set.
LONGEST_REBOOT = 3600.0
# Seconds by which a wall clock may differ from what passed before it counts as having been set.
JUMP = 60.0
# Seconds for which a host may have been off: what its wall clock says of longer is not believed.
LONGEST_OFF = 31 * 86400.0


class PassedTime:
    """A clock in seconds that never goes back and never gains; safe to use from any thread."""

    def __init__(
        self,
        root: Path,
        boot: str,
        boottime: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """Go on from what is kept below `root`; `boottime` counts the seconds of the boot `boot`.

        `wall_clock` gives POSIX seconds.
        """
        self._path = root / PASSED
        self._is_newer = False  # what is kept there; then it stays as it is
        self._boot = boot
        self._boottime = boottime
        self.wall_clock = wall_clock
        self.jump = ""  # what is to be told of the last time that the wall clock was set
        self._begun = self._saved = boottime()
        self._seen = self._begun, wall_clock()
        self._first = self._continued(*self._seen)
        self._save()

    def now(self) -> Moment:
        """What whatever is kept for a time from now on is to bear."""
        passed = self._first.passed + max(0.0, self._boottime() - self._begun)
        return Moment(clock=self._first.clock, passed=passed)

    def since(self, moment: Moment) -> float | None:
        """Seconds since then; None if that cannot be known, as it is of another root's clock."""
        now = self.now()
        if moment.clock != now.clock or moment.passed > now.passed:
            return None
        return now.passed - moment.passed

    def reading(self) -> Reading:
        """What the clocks say, for `was_set_since`."""
        return Reading(wall=timestamp(self.wall_clock()), moment=self.now(), boot=self._boot)

    def was_set_since(self, reading: Reading) -> bool:
        """Whether the wall clock was set since then, by more than what may have passed unseen.

        While the host was off none of our clocks ran, so what the wall clock says of that time is
        believed, within limits. What cannot be known counts as a yes.
        """
        passed = self.since(reading.moment)
        if passed is None:
            return True
        ahead = self.wall_clock() - reading.wall.timestamp() - passed
        return not -JUMP < ahead < (JUMP if reading.boot == self._boot else LONGEST_OFF)

    def look(self) -> None:
        """Notice whether the wall clock was set, and keep what passed so far, now and then."""
        now, wall = self._boottime(), self.wall_clock()
        (before, wall_before), self._seen = self._seen, (now, wall)
        jumped = self._compare(wall_before, wall, now - before)
        if jumped or now - self._saved >= SAVE:
            self._saved = now
            self._save()

    def _continued(self, now: float, wall: float) -> Moment:
        """The moment at which the daemon of before was last seen, and what has passed since."""
        try:
            last = PASSED_TIME.decode(self._path.read_bytes())
        except (OSError, Unreadable) as problem:
            if isinstance(problem, Newer):
                self._is_newer = True
                log.warning("%s: time is counted anew", problem.at(self._path))
            return Moment(clock=secrets.token_hex(8), passed=0.0)
        wall_before = last.wall.timestamp()
        if last.boot == self._boot:
            gone = max(0.0, now - last.boottime)
        else:
            off = wall - wall_before
            gone = off if 0.0 <= off <= LONGEST_REBOOT else 0.0
        self._compare(wall_before, wall, gone)
        return last.moment.model_copy(update={"passed": last.moment.passed + gone})

    def _compare(self, wall_before: float, wall: float, gone: float) -> bool:
        """Whether the wall clock differs from what has passed since it was last read; tells it."""
        ahead = wall - wall_before - gone
        if abs(ahead) < JUMP:
            return False
        self.jump = (
            f"the wall clock went from {timestamp(wall_before):%Y-%m-%d %H:%M} to "
            f"{timestamp(wall):%Y-%m-%d %H:%M} UTC, {abs(ahead):.0f} s "
            f"{'more' if ahead > 0 else 'less'} than is known to have passed; what is kept for a "
            "time goes by the time that passed"
        )
        event(log, logging.WARNING, self.jump)
        return True

    def _save(self) -> None:
        if self._is_newer:
            return
        passed = Passed(
            moment=self.now(),
            boot=self._boot,
            boottime=self._boottime(),
            wall=timestamp(self.wall_clock()),
        )
        try:
            files.durable_replace(self._path, PASSED_TIME.encode(passed), durable=False)
        except OSError as error:
            event(log, logging.DEBUG, "passed time not kept", failure=error)
