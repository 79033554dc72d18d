"""Volumes without containers: create, inspect, list and remove through a Docker Engine."""

from datetime import UTC, datetime

import pytest
from docker.errors import APIError, NotFound

from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.root]


def test_life_of_a_volume(
    engine: Engine, daemon: Daemon, name: str, options: dict[str, str]
) -> None:
    """11.3: create, ls, inspect and rm make the calls that the contract lists, and no others."""
    engine.create_volume(name, daemon.name, options)
    assert daemon.calls(name) == ["get", "create"]
    assert daemon.data(name).exists()
    lists = daemon.calls().count("list")
    assert name in engine.volume_names()
    assert daemon.calls().count("list") > lists
    assert engine.inspect(name)["Driver"] == daemon.name
    assert daemon.calls(name) == ["get", "create", "get"]
    engine.remove_volume(name)
    assert daemon.calls(name) == ["get", "create", "get", "get", "get", "remove"]
    assert not daemon.data(name).parent.exists()
    assert name not in engine.volume_names()


def test_scope(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.2: inspect shows scope local, and the engine asks for capabilities once at most."""
    asked = daemon.calls().count("capabilities")
    for _ in range(3):
        assert engine.inspect(volume)["Scope"] == "local"
    assert daemon.calls().count("capabilities") == asked


@pytest.mark.parametrize("opts", [None, {}], ids=["null", "empty"])
def test_no_options(engine: Engine, daemon: Daemon, name: str, opts: dict[str, str] | None) -> None:
    """11.4: no options are as good as an empty object of options."""
    engine.client.volumes.create(name, driver=daemon.name, driver_opts=opts)
    assert engine.inspect(name)["Status"]["backend"] == "directory"


def test_create_again(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.5: creating what exists sends Get alone, succeeds and leaves the data alone."""
    engine.run("echo precious > /data/file", f"{volume}:/data")
    before = daemon.calls(volume)
    engine.create_volume(volume, daemon.name, {"uid": "7"})
    assert daemon.calls(volume) == [*before, "get"]
    assert engine.run("cat /data/file", f"{volume}:/data") == "precious\n"


def test_two_drivers(engine: Engine, daemon: Daemon, name: str) -> None:
    """11.7: a name that the local driver has cannot be had from this one."""
    engine.client.volumes.create(name, driver="local")
    with pytest.raises(APIError, match="must be unique"):
        engine.create_volume(name, daemon.name)
    assert name not in daemon.names()


def test_out_of_band_removal(
    engine: Engine, daemon: Daemon, name: str, options: dict[str, str]
) -> None:
    """11.8: a name whose volume was removed behind the engine's back is free for other options."""
    engine.create_volume(name, daemon.name, options)
    daemon.clear()
    engine.create_volume(name, daemon.name, {**options, "uid": "7"})
    assert engine.inspect(name)["Options"]["uid"] == "7"
    assert engine.inspect(name)["Status"]["options"]["uid"] == "7"
    daemon.clear()
    engine.client.volumes.create(name, driver="local")
    assert engine.inspect(name)["Driver"] == "local"


def test_unknown_volume(engine: Engine, daemon: Daemon, volume: str, name: str) -> None:
    """11.9, 11.10: a volume that nobody has is looked for here, is not found, and is no fault."""
    wanted = f"{name}-unknown"
    with pytest.raises(NotFound, match="no such volume"):
        engine.inspect(wanted)
    assert set(daemon.calls(wanted)) == {"get"}
    assert {line["level"] for line in daemon.lines_of(wanted)} == {"debug"}
    engine.client.ping()


def test_status(engine: Engine, daemon: Daemon, volume: str, options: dict[str, str]) -> None:
    """11.11: inspect shows backend, size, state and references."""
    status = engine.inspect(volume)["Status"]
    assert status["backend"] == options["backend"]
    assert status["state"] == "ready"
    assert status["references"] == 0
    if "size" in options:
        assert (status["size"], status["filesystem"]) == (16 * 2**20, "ext4")
    engine.background(f"{volume}:/data")
    status = engine.inspect(volume)["Status"]
    assert (status["state"], status["references"]) == ("mounted", 1)


def test_creation_time(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.12: CreatedAt is the time of creation, in RFC 3339, UTC with Z."""
    shown = engine.inspect(volume)["CreatedAt"]
    assert shown.endswith("Z")
    written = (daemon.data(volume).parent / "volume.json").stat().st_mtime
    difference = datetime.fromisoformat(shown) - datetime.fromtimestamp(written, UTC)
    assert abs(difference.total_seconds()) < 5


def test_path_is_never_called(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.16: an engine never asks for Path, and it would get the mountpoint, empty or not."""
    engine.background(f"{volume}:/data")
    engine.inspect(volume)
    assert "path" not in daemon.calls(volume)
    assert _path(daemon, volume).startswith(str(daemon.mountpoint(volume)))
    engine.clear_containers()
    assert _path(daemon, volume) == ""


def test_labels_are_kept(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.22: an engine that was restarted knows driver, options and labels, and data is there."""
    engine.run("echo precious > /data/file", f"{volume}:/data")
    before = engine.inspect(volume)
    engine.restart()
    after = engine.inspect(volume)
    for key in ("Driver", "Labels", "Options", "CreatedAt"):
        assert after[key] == before[key]
    assert engine.run("cat /data/file", f"{volume}:/data") == "precious\n"


def test_broken_record(engine: Engine, daemon: Daemon, volume: str, name: str) -> None:
    """11.15: one volume with an unreadable record is listed as broken, beside all the others."""
    other = f"{name}-other"
    engine.create_volume(other, daemon.name)
    record = daemon.data(volume).parent / "volume.json"
    text = record.read_text()
    daemon.stop()
    record.write_text(text[: len(text) // 2])
    try:
        daemon.start()
        assert {volume, other} <= set(engine.volume_names())
        status = engine.inspect(volume)["Status"]
        assert status["state"] == "broken"
        assert "not a volume record" in status["reason"]
        assert engine.inspect(other)["Status"]["state"] == "ready"
        with pytest.raises(APIError, match=f"volume {volume} is broken"):
            engine.run("true", f"{volume}:/data")
        with pytest.raises(APIError, match=f"volume {volume} is broken"):
            engine.remove_volume(volume)
        assert record.exists()
        assert engine.run("echo fine", f"{other}:/data") == "fine\n"
    finally:
        daemon.stop()
        record.write_text(text)
        daemon.start()
    assert engine.inspect(volume)["Status"]["state"] == "ready"


def _path(daemon: Daemon, volume: str) -> str:
    found = daemon.call("/VolumeDriver.Path", {"Name": volume})
    assert found.status == 200
    shown: str = found.body["Mountpoint"]
    return shown
