"""What a policy keeps is what restic would keep."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest

from convoy_py.restic.retention import Policy, surplus
from convoy_py.restic.snapshots import Snapshot

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def snapshot(time: datetime) -> Snapshot:
    return Snapshot(
        time=time, tree=bytes(32), paths=("/convoy/db",), hostname="here", id=time.isoformat()
    )


def kept(times: Sequence[datetime], text: str) -> list[datetime]:
    snapshots = [snapshot(time) for time in times]
    gone = {each.id for each in surplus(snapshots, Policy.parse(text), NOW)}
    return [time for time in times if time.isoformat() not in gone]


def ago(**time: float) -> datetime:
    return NOW - timedelta(**time)


def test_the_newest_of_each_of_so_many_days() -> None:
    times = [ago(hours=1), ago(hours=2), ago(days=1), ago(days=1, hours=3), ago(days=2)]
    assert kept(times, "2d") == [ago(hours=1), ago(days=1)]


def test_days_without_a_backup_do_not_count() -> None:
    times = [ago(days=0), ago(days=10), ago(days=20), ago(days=30)]
    assert kept(times, "3d") == times[:3]


def test_the_last_ones_whenever_they_were() -> None:
    times = [ago(minutes=n) for n in range(5)]
    assert kept(times, "2last") == kept(times, "2") == times[:2]


def test_the_very_oldest_stays_while_counts_are_left() -> None:
    """So the span that backups cover grows to what was asked for."""
    times = [ago(hours=1), ago(hours=2), ago(hours=3)]
    assert kept(times, "7d") == [ago(hours=1), ago(hours=3)]


def test_what_one_rule_keeps_another_does_not_drop() -> None:
    times = [ago(hours=n) for n in range(60)]
    assert kept(times, "3h,2d") == [
        *times[:3],
        max(time for time in times if time.day == ago(days=1).day),
    ]


def test_days_are_those_of_the_zone_of_a_backup() -> None:
    """At half past eleven in the evening in New York it is the next day in UTC."""
    zone = timezone(timedelta(hours=-5))
    late = datetime(2026, 2, 10, 23, 30, tzinfo=zone)
    times = [late, late.replace(hour=8), datetime(2026, 2, 1, 12, tzinfo=zone)]
    assert kept(times, "1d") == [late]
    assert kept([late.astimezone(UTC), times[1], times[2]], "2d") == [late, times[1]]


def test_what_is_of_the_future_stays_and_counts_for_nothing() -> None:
    times = [NOW + timedelta(days=400), ago(days=1), ago(days=2)]
    assert kept(times, "1d") == times[:2]


def test_weeks_are_iso_weeks() -> None:
    """The last days of 2024 and the first of 2025 are of one week."""
    times = [datetime(2025, 1, 3, tzinfo=UTC), datetime(2024, 12, 30, tzinfo=UTC)]
    times.append(datetime(2024, 12, 29, tzinfo=UTC))
    assert kept(times, "1w") == times[:1]
    assert kept(times, "2w") == [times[0], times[2]]


@pytest.mark.parametrize("text", ["", "x", "7d,7d", "d", "-1d", "7 days", "0d", "1d,"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not what to keep|keeps nothing"):
        Policy.parse(text)
