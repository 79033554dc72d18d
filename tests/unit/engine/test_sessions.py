"""The daemon's side of sessions: whose locks are whose."""

import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import Progress
from convoy_py.engine.steps import sessions
from convoy_py.engine.steps.sessions import Sessions
from convoy_py.errors import Unavailable
from convoy_py.linux import process
from convoy_py.models.session import ListBackups
from convoy_py.state.records import Repository
from convoy_py.state.repositories import RepositoryStore
from convoy_py.state.store import Store
from tests.harness import eventually

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECORD = Repository(name="offsite", location="/srv/backups", id="ab" * 32, created=CREATED)
# Notes a lock and fails; it tells which locks it was to take away, and does not end by SIGTERM.
SCRIPT = """
import json, os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
left = json.loads(sys.stdin.readline())["access"]["leftover_locks"]
print(json.dumps({"event": "locks", "locks": [f"of {os.getpid()}"]}), flush=True)
sys.stdin.readline()
told = f"{os.getpid()} was left {left}"
print(json.dumps({"event": "failed", "kind": "unavailable", "message": told}), flush=True)
signal.pause()
"""


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    monkeypatch.setattr(sessions, "PROGRAM", (sys.executable, "-c", SCRIPT))
    monkeypatch.setattr(process, "_FAREWELL_SECONDS", 0.1)
    store = Store(tmp_path)
    store.open("a test")
    repositories = RepositoryStore(store)
    repositories.save(RECORD, "a password")
    yield Sessions(repositories, "here", 1.0)
    store.close()


def _told(known: Sessions) -> tuple[int, str]:
    """The process of a session, and what it was to take away."""
    with pytest.raises(Unavailable) as failed:
        known.run(RECORD, ListBackups(), Progress())
    pid, _, left = str(failed.value).removeprefix("repository offsite: ").partition(" was left ")
    return int(pid), left


def test_the_locks_of_who_was_cut_off_are_taken_away_by_the_next(known: Sessions) -> None:
    pid, left = _told(known)
    assert left == "[]"
    assert _told(known)[1] == f"['of {pid}']"


def test_the_locks_of_who_cannot_be_ended_stay_until_it_has_ended(
    known: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last call may still come to pass."""
    kill = os.killpg
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", lambda *_: None)
        pid, _ = _told(known)
    assert _told(known)[1] == "[]"
    kill(pid, signal.SIGKILL)
    eventually(lambda: f"of {pid}" in _told(known)[1], "it has ended")
