"""What the daemon and a session say to each other arrives as it was said."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from convoy_py.engine.steps.sessions import EVENTS
from convoy_py.models.session import (
    Access,
    Backup,
    BackupFound,
    Data,
    Done,
    Failed,
    Forget,
    Locks,
    Pruned,
    Request,
    RestoreFile,
    Source,
    Stepped,
    Task,
    heard,
)

NOW = datetime(2026, 11, 27, 12, 30, 15, 250_000, tzinfo=UTC)
ACCESS = Access(
    location="/r\u00e9po\n",
    password='p"\u00e4',
    host="here",
    patience=1.5,
    leftover_locks=("a", "b"),
)
OLD = Data(uuid="1", path=Path("/old"), image=Path("/old image"))
SOURCE = Source(
    volume="db", volume_id="2", created=NOW, data=OLD, bases=(OLD, OLD), description='{"a": 1}'
)


@pytest.mark.parametrize(
    "task",
    [
        Backup(sources=(SOURCE, SOURCE)),
        Forget(volumes=("db", "web"), keep="7d"),
        RestoreFile(backup="1", paths=("6a", "ff"), into=Path("/into\udcff")),
    ],
)
def test_a_request_arrives(task: Task) -> None:
    request = Request(access=ACCESS, task=task)
    line = request.said()
    assert "\n" not in line
    assert heard(line) == request


@pytest.mark.parametrize(
    "event",
    [
        Locks(locks=("a", "b")),
        Stepped(done=1, total=2**40, note="db"),
        Done(backups=(BackupFound(id="1", volume="db", host="h", created=NOW),)),
        Done(
            pruned=Pruned(
                snapshots=1,
                kept=2,
                repacked=3,
                deleted=4,
                repacked_bytes=5,
                freed_bytes=6,
                unneeded_bytes=7,
            )
        ),
        Failed(kind="Unavailable", message="it is \u2026 away"),
    ],
)
def test_an_event_arrives(event: Locks | Stepped | Done | Failed) -> None:
    assert EVENTS.validate_json(event.said()) == event


@pytest.mark.parametrize(
    "line",
    ['{"event": "nosuch"}', '{"event": "done", "more": 1}', '{"event": "stepped", "done": "x"}'],
)
def test_what_is_no_event_is_refused(line: str) -> None:
    """As a session of another version may say it."""
    with pytest.raises(ValidationError):
        EVENTS.validate_json(line)


@pytest.mark.parametrize("change", [("password", "passwort"), ('"list"', '"nosuch"'), ("{", "[")])
def test_what_is_no_request_is_refused(change: tuple[str, str]) -> None:
    line = Request(access=ACCESS, task=Forget(keep="1d")).said().replace('"forget"', '"list"', 1)
    with pytest.raises(ValueError, match="not one of this version's"):
        heard(line.replace(*change, 1))
