"""What lies in a home beside the data that the record names: the numbers tell what it is."""

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


@pytest.mark.parametrize(
    ("named", "unfinished", "replaced"),
    [
        ("image", {"image.1", "image.2", "image.10"}, []),
        ("image.1", {"image.2", "image.10"}, ["image"]),
        ("image.2", {"image.10"}, ["image", "image.1"]),
        ("image.10", set(), ["image", "image.1", "image.2"]),
        ("image.7", {"image.10"}, ["image", "image.1", "image.2"]),  # it is missing
    ],
)
def test_what_is_newer_was_never_named_and_what_is_older_was(
    home: Path, named: str, unfinished: set[str], replaced: list[str]
) -> None:
    """What is being made is newer always; what is of another kind is none of it."""
    found = data.look(home / named)
    assert found.named == home / named
    staged = {".new-image.3", ".new-image.11"}
    assert {path.name for path in found.unfinished} == unfinished | staged
    assert [path.name for path in found.replaced] == replaced


@pytest.mark.parametrize("named", ["image", "image.2", "image.20"])
def test_the_next_has_a_number_that_nothing_has(home: Path, named: str) -> None:
    """Not even what was cut off, or what is missing."""
    assert data.after(home / named) == ("image.21" if named == "image.20" else "image.12")


def test_the_first_is_1(tmp_path: Path) -> None:
    assert data.after(tmp_path / "image") == "image.1"


def test_names_with_numbers_are_told(home: Path) -> None:
    """Of whatever kind."""
    assert data.numbered(home) == ["image.1", "image.2", "data.3", "image.10"]
