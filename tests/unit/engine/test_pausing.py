"""Containers that were paused for a snapshot go on, whatever becomes of the daemon."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from convoy_py.containers import Container, Engine
from convoy_py.engine.pausing import Pausing
from convoy_py.errors import Unavailable

RUNNING = Container(id="a" * 64, name="db", state="running")
STOOD_STILL = Container(id="b" * 64, name="idle", state="paused")


class FakeEngine:
    def __init__(self) -> None:
        self.unpaused: list[Container] = []
        self.started: list[Container] = []
        self.reachable = True

    @contextmanager
    def paused(self, containers: list[Container]) -> Iterator[None]:
        yield

    def stop(self, containers: list[Container]) -> list[Container]:
        if not self.reachable:
            raise Unavailable("no engine")
        return containers

    def start(self, containers: list[Container]) -> None:
        self.started += containers

    def unpause(self, containers: list[Container]) -> None:
        if not self.reachable:
            raise Unavailable("no engine")
        self.unpaused += containers


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "paused"


@pytest.fixture
def pausing(engine: FakeEngine, notes: Path) -> Pausing:
    return Pausing(cast("Engine", engine), notes)


def test_who_is_paused_is_noted_as_long_as_it_is(pausing: Pausing, notes: Path) -> None:
    """A note that stayed would unpause, one day, what someone else had paused."""
    with pausing.paused([RUNNING, STOOD_STILL]):
        (note,) = notes.glob("*.json")
        assert json.loads(note.read_bytes()) == ["paused", [[RUNNING.id, RUNNING.name]]]
    assert list(notes.glob("*.json")) == []


def test_the_next_daemon_unpauses_what_this_one_left(
    pausing: Pausing, engine: FakeEngine, notes: Path
) -> None:
    """Those that stood still before the snapshot go on doing so."""
    _die_meanwhile(pausing, notes)
    pausing.recover()
    assert [container.id for container in engine.unpaused] == [RUNNING.id]
    assert list(notes.glob("*.json")) == []


def test_what_cannot_be_unpaused_yet_is_not_forgotten(
    pausing: Pausing, engine: FakeEngine, notes: Path
) -> None:
    """After a reboot of the engine's the daemon may be there first."""
    _die_meanwhile(pausing, notes)
    engine.reachable = False
    pausing.recover()
    assert len(list(notes.glob("*.json"))) == 1


def test_what_is_stopped_for_a_rollback_is_started_again(
    pausing: Pausing, engine: FakeEngine, notes: Path
) -> None:
    """By this daemon, or by the next."""
    stopped = pausing.stop([RUNNING])
    pausing.start(stopped)
    assert engine.started == [RUNNING]
    assert list(notes.glob("*.json")) == []
    pausing.stop([RUNNING])
    pausing.recover()
    assert [container.id for container in engine.started] == [RUNNING.id] * 2
    assert list(notes.glob("*.json")) == []


def test_what_could_not_be_stopped_is_not_noted(
    pausing: Pausing, engine: FakeEngine, notes: Path
) -> None:
    """Or the next daemon would start what someone has stopped since."""
    engine.reachable = False
    with pytest.raises(Unavailable):
        pausing.stop([RUNNING])
    assert list(notes.glob("*.json")) == []


@pytest.mark.parametrize("text", ["{", "[]", '["asleep", []]'])
def test_a_note_that_says_nothing_keeps_no_daemon_from_serving(
    pausing: Pausing, engine: FakeEngine, notes: Path, text: str
) -> None:
    """Whatever wrote it."""
    notes.mkdir()
    (notes / "bad.json").write_text(text)
    pausing.recover()
    assert engine.unpaused == []
    assert list(notes.glob("*.json")) == []


def _die_meanwhile(pausing: Pausing, notes: Path) -> None:
    """Leave what a daemon leaves that is killed while containers are paused."""
    with pausing.paused([RUNNING, STOOD_STILL]):
        (note,) = notes.glob("*.json")
        left = note.read_bytes()
    note.write_bytes(left)
