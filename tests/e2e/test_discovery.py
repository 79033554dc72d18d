"""The ways in which an engine finds the daemon without a socket of the driver's name."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import PLUGINS, Daemon
from tests.e2e.engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.root]

SPECIFICATIONS = Path("/etc/docker/plugins")


@pytest.fixture
def driver(engine: Engine, daemon: Daemon) -> Iterator[str]:
    """A driver's name that no engine knows; what is written for it goes with the test."""
    name = f"convoy-d{secrets.token_hex(3)}"
    SPECIFICATIONS.mkdir(parents=True, exist_ok=True)
    yield name
    # Before the files go: an engine waits 15 s for a driver that it knows and that is gone.
    engine.clear(daemon.name)
    engine.restart()
    for path in (PLUGINS / name / f"{name}.sock", *SPECIFICATIONS.glob(f"{name}.*")):
        path.unlink(missing_ok=True)
    if (PLUGINS / name).exists():
        (PLUGINS / name).rmdir()


@pytest.mark.parametrize("how", ["spec", "json", "folder"])
def test_found_by(engine: Engine, daemon: Daemon, driver: str, name: str, how: str) -> None:
    """11.65: NAME.spec, NAME.json and NAME/NAME.sock lead to the daemon as NAME.sock does."""
    address = f"unix://{daemon.socket}"
    if how == "spec":
        (SPECIFICATIONS / f"{driver}.spec").write_text(f"{address}\n")
    elif how == "json":
        told = {"Name": "ignored", "Addr": address}
        (SPECIFICATIONS / f"{driver}.json").write_text(json.dumps(told))
    else:
        (PLUGINS / driver).mkdir()
        (PLUGINS / driver / f"{driver}.sock").hardlink_to(daemon.socket)
    engine.create_volume(name, driver)
    assert engine.inspect(name)["Driver"] == driver
    assert engine.run("echo fine > /data/file; cat /data/file", f"{name}:/data") == "fine\n"
    engine.remove_volume(name)
    assert name not in daemon.names()
