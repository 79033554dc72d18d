"""Modes in octal, and what YAML makes of those that are not quoted."""

import re

import pytest

from convoy_py.errors import InvalidOption
from convoy_py.models.modes import parse_mode
from convoy_py.models.options import parse_options

ALL = range(0o10000)
# With a sticky bit for all, and setgid for a group.
USUAL = [0o1777, 0o1775, 0o1770, 0o1755, 0o2775, 0o2770, 0o2755, 0o2750, 0o3777, 0o3775, 0o3770]


def test_with_a_leading_zero_every_mode_is_taken() -> None:
    """In Python's spelling too."""
    assert [parse_mode(f"0{mode:o}") for mode in ALL] == list(ALL)
    assert [parse_mode(f"0o{mode:o}") for mode in ALL] == list(ALL)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("755", 0o755),
        ("775", 0o775),
        ("777", 0o777),
        ("770", 0o770),
        ("750", 0o750),
        ("711", 0o711),
        ("700", 0o700),
        ("644", 0o644),
        ("1777", 0o1777),
        ("1770", 0o1770),
        ("2775", 0o2775),
        ("2770", 0o2770),
        ("4755", 0o4755),
        ("0", 0),
        ("7", 0o7),
    ],
)
def test_without_it_those_are_taken_that_can_be_nothing_else(text: str, mode: int) -> None:
    """As people write them by hand."""
    assert parse_mode(text) == mode


@pytest.mark.parametrize("mode", [*range(8, 0o1000), *USUAL], ids=oct)
def test_what_yaml_makes_of_a_mode_is_never_another_one(mode: int) -> None:
    """Of all modes of permissions alone, and of usual ones with more; the right way is told."""
    with pytest.raises(ValueError, match=re.escape(f"write it quoted: '0{mode:03o}'")):
        parse_mode(str(mode))


@pytest.mark.parametrize("text", ["", "0o", "888", "10000", "010000", "-1", "7 5", "rwx", "1100"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    """With one that is."""
    with pytest.raises(ValueError, match="is not an octal mode such as 0750"):
        parse_mode(text)


@pytest.mark.parametrize(
    "raw", [{"mode": "504"}, {"o": "uid=1,mode=504"}, {"MODE": "504"}], ids=str
)
def test_wherever_a_mode_is_given(raw: dict[str, str]) -> None:
    """What was meant is the first that is told, what is written is the other."""
    told = "write it quoted: '0770', or '0504' if that is meant"
    with pytest.raises(InvalidOption, match=told):
        parse_options(raw)
