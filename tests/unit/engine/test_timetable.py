"""When schedules are due, whatever the clock does and whoever looks when: a property."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.timetable import LONGEST_DELAY, Timetable
from convoy_py.models.cron import following
from convoy_py.models.schedule import Task
from convoy_py.models.volume import Spec
from convoy_py.state.records import Moment, Ran, Reading, Record, References, Runs, timestamp

BEGUN = datetime(2026, 3, 27, tzinfo=UTC).timestamp()  # two days before clocks are changed
ZONES = [ZoneInfo("Europe/Berlin"), ZoneInfo("America/Santiago"), UTC]
HOURLY = ("@hourly", "0 2 * * *", "30 2 * * *", "*/20 * * * *", "15 */3 * * *")
UUID = "01234567-89ab-4def-8123-456789abcdef"


def _entry(expression: str, since: float) -> Entry:
    spec = Spec(backend="directory", schedule_snapshot=expression)
    record = Record(name="db", uuid=UUID, created=timestamp(BEGUN), spec=spec)
    entry = Entry("db", References(boot="boot"), record)
    entry.runs = Runs(volume=UUID, snapshot=_ran(since))
    return entry


def _ran(since: float) -> Ran:
    moment = Moment(clock="clock", passed=0.0)
    return Ran(since=Reading(wall=timestamp(since), moment=moment, boot="boot"))


@given(
    st.sampled_from(HOURLY),
    st.sampled_from(ZONES),
    st.lists(st.floats(1.0, 20_000.0), min_size=1, max_size=40),
)
def test_a_moment_is_followed_by_one_run_and_no_run_is_without_one(
    expression: str, zone: ZoneInfo, pauses: list[float]
) -> None:
    """However seldom somebody looks, across a change of clocks: nothing is due twice."""
    timetable, entry, now = Timetable("host", zone), _entry(expression, BEGUN), BEGUN
    runs = [BEGUN]
    for pause in pauses:
        now += pause
        slot = timetable.next(entry, Task.SNAPSHOT)
        assert slot
        assert runs[-1] < slot.moment <= slot.due <= slot.moment + LONGEST_DELAY
        if slot.due <= now:
            runs.append(now)
            entry.runs = Runs(volume=UUID, snapshot=_ran(now))
    for before, after in zip(runs, [*runs[1:], now], strict=True):
        first = following(expression, timetable.local(before)).timestamp()
        if after != now:
            assert first <= after, "without a moment in between there is no run"
        else:
            assert now - first < LONGEST_DELAY + max(pauses), "none is left out"


@given(st.integers(0, 2**32), st.sampled_from(HOURLY))
def test_delays_are_spread_and_stay(number: int, expression: str) -> None:
    """By volume and host; and they are less than a tenth of the time to the next."""
    entry = _entry(expression, BEGUN + number % 86400)
    found = {
        host: timetable.next(entry, Task.SNAPSHOT)
        for host in ("one", "other")
        for timetable in (Timetable(host, UTC), Timetable(host, UTC))
    }
    one, other = found["one"], found["other"]
    assert one
    assert other
    assert one.moment == other.moment
    assert one.due != other.due
    assert found["one"] == Timetable("one", UTC).next(entry, Task.SNAPSHOT)
