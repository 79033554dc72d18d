"""Backups beside containers: what is done to them around the snapshot."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import CommandError
from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine, state

pytestmark = [pytest.mark.docker, pytest.mark.root]


@pytest.fixture
def backed(daemon: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with a repository."""
    password = tmp_path / "password"
    password.write_text("secret")
    password.chmod(0o600)
    place = str(tmp_path / "repository")
    daemon.convoy("repository", "add", "offsite", place, "--password-file", str(password))
    yield daemon
    daemon.convoy("repository", "remove", "offsite")


def test_hooks(engine: Engine, backed: Daemon, volume: str) -> None:
    """12.16: commands and a stop surround the snapshot; all is as before, and told."""
    asks = {
        "convoy.backup.before": "echo begun >/data/dump; echo on >/state",
        "convoy.backup.after": "echo off >/state",
        "convoy.backup.stop": "true",
    }
    app = engine.background(f"{volume}:/data", name=f"{volume}-app", labels=asks)
    other = engine.background(f"{volume}:/data", name=f"{volume}-other")
    other.reload()
    began = other.attrs["State"]["StartedAt"]
    told = backed.told("backup", "create", volume, "--after", f"{other.name}: echo last >/state")
    assert (state(app), state(other)) == ("running", "running")
    other.reload()
    assert other.attrs["State"]["StartedAt"] == began
    assert [each.exec_run(["cat", "/state"]).output for each in (app, other)] == [
        b"off\n",
        b"last\n",
    ]
    backed.convoy("restore", told[0]["BackupURL"], "--as", f"{volume}-then")
    assert engine.run("cat /data/dump", f"{volume}-then:/data") == "begun\n"
    with pytest.raises(CommandError, match="exit code 7: no room"):
        backed.convoy("backup", "create", volume, "--before", f"{app.name}: echo no room; exit 7")
    assert len(json.loads(backed.convoy("backup", "list", volume))) == 1
