"""A real daemon does by itself what a schedule says, and knows after a kill what became of it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from convoy_py.linux import files
from convoy_py.restic.stores.local import LocalStore
from convoy_py.state.records import RUNS
from tests.crash.verbs import job
from tests.fakes_restic import new_repository
from tests.harness import Daemon, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
FLAGS = ("--reserve=0", "--overcommit=1000", "--timezone=Europe/Berlin", "--host=here")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, *FLAGS)
    daemon.start()
    yield daemon
    daemon.clean()
    daemon.let_go()


@pytest.fixture
def offsite(daemon: Daemon, tmp_path: Path) -> str:
    """The name of a repository."""
    password = tmp_path / "password"
    password.write_text("a password\n")
    place = str(tmp_path / "repository")
    new_repository(LocalStore(Path(place)), "a password", "here")
    named = {"Name": "offsite", "Location": place, "PasswordFile": str(password)}
    job(daemon, "POST", "/v1/repositories", **named)
    return "offsite"


def _task(daemon: Daemon, volume: str, task: str) -> Any:
    return daemon.admin("GET", f"/v1/schedules/{volume}")[task]


def _good(daemon: Daemon, volume: str, task: str) -> Any:
    """The last run, once it is good."""
    told = _task(daemon, volume, task)
    return told["Last"] if told["Good"] else None


def _missed(daemon: Daemon, volume: str) -> None:
    """As if a day had passed since the schedule was looked at."""
    path = daemon.root / "volumes" / volume / "runs.json"
    runs = RUNS.decode(path.read_bytes())
    changed: dict[str, Any] = {}
    for task in ("snapshot", "backup"):
        ran = getattr(runs, task)
        before = ran.since.model_copy(update={"wall": ran.since.wall.replace(year=2020)})
        changed[task] = ran.model_copy(update={"since": before})
    files.durable_replace(path, RUNS.encode(runs.model_copy(update=changed)))


def test_what_was_missed_is_done_after_the_start(daemon: Daemon, offsite: str) -> None:
    """By a timer of the kernel, in one session; and what became of it is known after a kill."""
    minutely = {"Snapshot": "* * * * *", "Backup": "* * * * *", "To": offsite}
    for volume in ("db", "web"):
        daemon.create(volume)
        daemon.admin("POST", f"/v1/schedules/{volume}", minutely)
    daemon.kill()
    for volume in ("db", "web"):
        _missed(daemon, volume)
    daemon.start()
    for volume in ("db", "web"):
        for task in ("Snapshot", "Backup"):
            eventually(partial(_good, daemon, volume, task), f"the {task} of {volume} is good")
    assert _good(daemon, "db", "Snapshot")["What"].startswith("db@scheduled-")
    assert "volume=db" in _good(daemon, "db", "Backup")["What"]
    jobs = daemon.admin("GET", "/v1/jobs")["Jobs"]
    assert ["db", "web"] in [
        sorted(each["Volume"].split(",")) for each in jobs if each["Verb"] == "scheduled-backup"
    ]
    daemon.admin("DELETE", "/v1/schedules/web")
    (told,) = daemon.admin("GET", "/v1/schedules")["Schedules"]
    daemon.kill()
    daemon.start()
    assert _task(daemon, "db", "Backup")["Good"] >= told["Backup"]["Good"]
    found = job(daemon, "GET", "/v1/backups?volume=db")["Backups"]
    assert found[0]["VolumeName"] == "db"
