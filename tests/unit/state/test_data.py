"""The names of data in a home, of which its record names one."""

from pathlib import Path

import pytest

from convoy_py.state import data

THERE = (
    *("image", "image.1", "image.2", "image.10", ".new-image.3", ".new-image.11"),
    *("volume.json", "snapshots", "data", "data.3", "image.old", "image.02", ".new-data.4"),
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in THERE:
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("named", ["image", "image.2", "image.20"])
def test_the_next_has_a_number_that_nothing_has(home: Path, named: str) -> None:
    """Not even what was cut off, or what is missing."""
    assert data.after(home / named).name == ("image.21" if named == "image.20" else "image.12")


def test_the_first_is_1(tmp_path: Path) -> None:
    assert data.after(tmp_path / "image") == tmp_path / "image.1"


def test_names_with_numbers_are_told(home: Path) -> None:
    """Of the kinds that are asked for."""
    (home / "log.1").touch()
    assert data.numbered(home, {"image"}) == ["image.1", "image.2", "image.10"]
    assert data.numbered(home, {"image", "data"}) == ["image.1", "image.2", "data.3", "image.10"]
