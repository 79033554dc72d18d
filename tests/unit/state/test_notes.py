"""Notes of what is half done: whose they are, and what becomes of those that say nothing."""

import logging
from pathlib import Path

import pytest

from convoy_py.state.notes import Notes
from convoy_py.state.records import OWED, Owed

CONTENT = Owed(commands=(("db", "go"),))


@pytest.fixture
def notes(tmp_path: Path) -> Notes[Owed]:
    return Notes(OWED, "not done", tmp_path / "one", tmp_path / "other")


def test_one_is_left_when_who_has_it_in_use_leaves_it(notes: Notes[Owed], tmp_path: Path) -> None:
    """Or is gone, as an earlier daemon; of whichever folder."""
    mine, left = notes.begin(CONTENT), notes.begin(CONTENT, tmp_path / "other")
    assert list(notes.left()) == []
    notes.leave(left)
    assert list(notes.left()) == [(left, CONTENT)]
    later = Notes(OWED, "not done", tmp_path / "one", tmp_path / "other")
    assert sorted(note for note, _ in later.left()) == sorted([mine, left])
    notes.end(left)
    assert list(notes.left()) == []


def test_what_cannot_be_settled_is_told_once_for_each_reason(
    notes: Notes[Owed], caplog: pytest.LogCaptureFixture
) -> None:
    note = notes.begin(CONTENT)
    for reason in ("no engine", "no engine", "no such container"):
        notes.tell(note, ValueError(reason))
    assert [record.message for record in caplog.records] == ["not done"] * 2


def test_a_newer_daemon_s_note_stays_and_what_is_none_goes(
    notes: Notes[Owed], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "one").mkdir()
    newer, broken = tmp_path / "one/newer.json", tmp_path / "one/broken.json"
    newer.write_text('{"format": 9}')
    broken.write_text("{")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert list(notes.left()) == []
    assert (newer.exists(), broken.exists()) == (True, False)
    told = [record.message for record in caplog.records]
    assert sorted(told) == [f"{broken} is not a note of ours; it is deleted", "not done"]
