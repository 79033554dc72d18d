"""Cron expressions, and the days on which clocks are changed."""

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convoy_py.models.cron import NAMED, expression, following

BERLIN = ZoneInfo("Europe/Berlin")
# Two changes of the clock each; half an hour at Lord Howe, at midnight in Santiago.
ZONES: list[tzinfo] = [BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")]
ZONES += [ZoneInfo("America/Santiago"), UTC]
YEAR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())

moments = st.builds(
    lambda seconds, zone: datetime.fromtimestamp(YEAR + seconds, zone),
    st.integers(0, 366 * 86400),
    st.sampled_from(ZONES),
)
minutes, hours = st.integers(0, 59), st.integers(0, 23)
daily = st.builds("{} {} * * *".format, minutes, hours)
expressions = st.one_of(
    daily,
    st.sampled_from([*NAMED, "*/7 * * * *", "15,45 */5 * * *", "30 1-3 * * *", "0 4 1 * MON"]),
    st.builds("{} * * * *".format, minutes),
    st.builds("*/{} {} * * SUN".format, st.integers(1, 59), hours),
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" 30  2 * * * ", "30 2 * * *"),
        ("*/5 0-6 1,15 jan MON-FRI", "*/5 0-6 1,15 jan MON-FRI"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 L * *", "0 0 L * *"),
        ("@Daily", "@daily"),
        *((name, name) for name in NAMED),
        ("7d", "7d"),
        (" 12H", "12h"),
    ],
)
def test_what_is_an_expression(text: str, kept: str) -> None:
    assert expression(text) == kept


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("hourly", "five fields"),
        ("61 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * Foo *", "bad month"),
        ("* * * * 8", "bad day-of-week"),
        ("5-1 * * * *", "bad minute"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 31 4,6 *", "bad day-of-month"),
        ("0 0 */14 * 1#2", "no such day"),
        (f"{'9' * 5000} * * * *", "five fields"),
        ("0d", "five fields"),
        ("7", "a time between such as 12h or 7d: it has not five fields"),
        ("90s", "five fields"),
        ("@reboot", "is not one of @hourly, @daily"),
    ],
)
def test_what_is_none_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        expression(text)


@given(st.text("0123456789*/,-#LW @ACDEFINORTU", max_size=24))
def test_what_is_accepted_has_a_next_moment(text: str) -> None:
    """Whatever people write: it is refused at once, or it comes."""
    try:
        kept = expression(text)
    except ValueError:
        return
    assert following(kept, datetime(2026, 1, 1, tzinfo=UTC)) > datetime(2026, 1, 1, tzinfo=UTC)


@given(expressions, moments)
def test_moments_go_on_and_on(text: str, after: datetime) -> None:
    """Each is later than the one before, whatever the clocks of the zone do."""
    seen = [after.timestamp()]
    for _ in range(4):
        seen.append(following(text, datetime.fromtimestamp(seen[-1], after.tzinfo)).timestamp())
    assert seen == sorted(set(seen))


@given(daily, moments)
def test_each_day_has_one_moment_of_what_is_daily(text: str, after: datetime) -> None:
    """Also those with 23 and 25 hours: none is left out, and none comes twice."""
    days = []
    for _ in range(4):
        after = following(text, after)
        days.append(after.date())
    assert days == [days[0] + timedelta(days=count) for count in range(4)]


@pytest.mark.parametrize(
    ("text", "after", "then"),
    [
        # 02:30 is not there on that day, and comes twice on the other.
        ("30 2 * * *", "2026-03-28T12:00+01:00", "2026-03-29T03:00+02:00"),
        ("30 2 * * *", "2026-10-25T00:00+02:00", "2026-10-25T02:30+02:00"),
        ("30 2 * * *", "2026-10-25T02:10+01:00", "2026-10-26T02:30+01:00"),
        ("@hourly", "2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"),
        ("@hourly", "2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"),
        # What passes between two is not what clocks say.
        ("1d", "2026-03-28T12:00+01:00", "2026-03-29T13:00+02:00"),
        ("30m", "2026-10-25T02:45+02:00", "2026-10-25T02:15+01:00"),
    ],
)
def test_when_clocks_are_changed(text: str, after: str, then: str) -> None:
    begun = datetime.fromisoformat(after).astimezone(BERLIN)
    assert following(text, begun).isoformat(timespec="minutes") == then
