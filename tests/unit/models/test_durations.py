"""Durations are shown in the units in which they are given."""

import pytest

from convoy_py.config import load
from convoy_py.models.durations import exact_duration, format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.4, "12s"), (119.0, "119s"), (120.0, "2m"), (7199.0, "120m"), (7200.0, "2h"), (2e5, "2d")],
)
def test_roughly(seconds: float, text: str) -> None:
    """The largest unit of which there are two."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0"),
        (0.5, "0.5s"),
        (90.0, "90s"),
        (5400.0, "90m"),
        (43_200.0, "12h"),
        (86_400.0, "1d"),
    ],
)
def test_exactly(seconds: float, text: str) -> None:
    """It may be given again, as it is shown."""
    assert exact_duration(seconds) == text
    assert load({"trash_keep": text}, {}).settings.trash_keep == seconds
