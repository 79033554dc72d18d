"""Backups beside containers: what is done to them around the snapshot; and on another host."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.servers import BUCKET, S3_CREDENTIALS, s3_served
from tests.e2e import command
from tests.e2e.command import CommandError
from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine, prints, state
from tests.restic import BINARIES

pytestmark = [pytest.mark.docker, pytest.mark.root]


@pytest.fixture
def backed(daemon: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with a repository."""
    place = str(tmp_path / "repository")
    password = _secret(tmp_path / "password", "secret")
    with _known(daemon, place, "--password-file", str(password)):
        yield daemon


def _secret(file: Path, text: str) -> Path:
    file.touch(0o600)
    file.write_text(text)
    return file


@contextmanager
def _known(daemon: Daemon, *place_and_secrets: str) -> Iterator[None]:
    """Within, the daemon has a repository `offsite`."""
    daemon.convoy("repository", "add", "offsite", *place_and_secrets)
    try:
        yield
    finally:
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
    assert [prints(each, ["cat", "/state"]) for each in (app, other)] == [
        b"off\n",
        b"last\n",
    ]
    backed.convoy("restore", told[0]["BackupURL"], "--as", f"{volume}-then")
    assert engine.run("cat /data/dump", f"{volume}-then:/data") == "begun\n"
    with pytest.raises(CommandError, match="exit code 7: no room"):
        backed.convoy("backup", "create", volume, "--before", f"{app.name}: echo no room; exit 7")
    assert len(json.loads(backed.convoy("backup", "list", volume))) == 1


def test_another_host(
    engine: Engine, daemon: Daemon, spare: Daemon, name: str, tmp_path: Path
) -> None:
    """12.16: what one host backed up to S3 a volume begins as on another; and restic has it."""
    engine.create_volume(name, daemon.name, {"size": "16M"})
    engine.run("echo kept >/data/file", f"{name}:/data")
    password = _secret(tmp_path / "password", "secret")
    lines = (f"{key}={value}\n" for key, value in S3_CREDENTIALS.items())
    credentials = _secret(tmp_path / "credentials", "".join(lines))
    secrets = ("--password-file", str(password), "--credentials-file", str(credentials))
    storage = tmp_path / "storage"
    storage.mkdir()
    with s3_served(storage) as address:
        place = f"s3:{address}/{BUCKET}/volumes"
        with _known(daemon, place, *secrets):
            backup = daemon.convoy("backup", "create", name)
            assert daemon.told("backup", "verify", "--read-data") == {"Problems": []}
            assert daemon.convoy("backup", "prove", "--all") == backup
            daemon.convoy("schedule", "set", name, "--backup", "@daily", "--keep", "7d,4w")
            (schedule,) = daemon.told("schedule", "list")
            assert (schedule["Volume"], schedule["Backup"]["Failures"]) == (name, 0)
            engine.remove_volume(name)
            daemon.convoy("trash", "purge", "--all")
        spare.start()
        with _known(spare, place, *secrets):
            engine.create_volume(name, spare.name, {"backup": "offsite"})
            assert engine.run("cat /data/file", f"{name}:/data:ro") == "kept\n"
        for restic in BINARIES:
            asked = [restic, "--no-cache", "-r", place, "dump", "latest", "/data/file"]
            told = command.run(asked, RESTIC_PASSWORD="secret", **S3_CREDENTIALS)
            assert told == "kept\n"
