"""How a user says which backup is meant."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from convoy_py.errors import Invalid
from convoy_py.models.backup import parse_at


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-01-31T02:30:00Z", datetime(2026, 1, 31, 2, 30, tzinfo=UTC)),
        ("2026-01-31 02:30", datetime(2026, 1, 31, 2, 30, tzinfo=UTC)),
        (
            "2026-01-31T02:30+01:00",
            datetime(2026, 1, 31, 2, 30, tzinfo=timezone(timedelta(hours=1))),
        ),
        ("2026-01-31", datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("FEDCba98", "fedcba98"),
        ("20260131", "20260131"),
    ],
)
def test_a_time_or_an_id(text: str, meant: datetime | str) -> None:
    """A day is meant to its end; digits alone are an id's."""
    assert parse_at(text) == meant


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "2026-01-31T99:00", "0x12", "-1"])
def test_what_is_neither(text: str) -> None:
    """Told with what would be right."""
    with pytest.raises(Invalid, match="is neither a time, such as 2026-01-31"):
        parse_at(text)
