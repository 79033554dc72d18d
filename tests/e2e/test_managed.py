"""The managed plugin in a Docker Engine: built, enabled, set, crashed, upgraded and removed."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from tests.e2e import command
from tests.e2e.command import CommandError
from tests.e2e.conftest import BACKENDS
from tests.e2e.engine import Engine
from tests.e2e.managed import (
    NAME,
    ROOT,
    SOCKET,
    Plugin,
    goes_on,
    read,
)
from tests.e2e.registry import registry
from tests.e2e.waiting import until

# The first test waits for the build, and for what that needs.
pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.timeout(600)]

# An engine gives a plugin 10 s to end, and then kills it.
ENDED_BY_ITSELF = 5.0


@pytest.fixture
def engine(the_managed_engine: Engine, plugin: Plugin) -> Engine:
    """The engine of the plugin, without containers and volumes."""
    return the_managed_engine


@pytest.fixture
def volume(engine: Engine, plugin: Plugin, name: str, options: dict[str, str]) -> str:
    """The name of a volume that was created through the engine; the test runs for each backend."""
    engine.create_volume(name, NAME, options)
    return name


@pytest.fixture
def volumes(engine: Engine, plugin: Plugin, name: str) -> list[str]:
    """The names of a volume of each backend: for a test that builds, so that it builds once."""
    made = {f"{name}-{backend}": options for backend, options in BACKENDS.items()}
    for volume, options in made.items():
        engine.create_volume(volume, NAME, options)
    return list(made)


@pytest.fixture
def container(engine: Engine, volume: str) -> Any:
    """A running container that appends to /data/log, and once wrote `precious` to /data/file."""
    command = "echo precious > /data/file; while date >> /data/log; do sleep 0.1; done"
    found = engine.background(f"{volume}:/data", command=command)
    until(lambda: read(found) == "precious\n", "the file")
    return found


@pytest.fixture
def lasting(engine: Engine) -> Iterator[Engine]:
    """An engine that lets containers, and the plugin, live on when it ends."""
    with engine.live_restore():
        engine.restart()  # with the plugin of a time when that was off
        yield engine
        engine.ensure_running()
        engine.clear_containers()
    engine.restart()


def test_life_of_the_plugin(engine: Engine, plugin: Plugin) -> None:
    """11.66: enabled it answers, disabled it has ended by itself, and what it says is logged."""
    assert plugin.inspect()["Enabled"]
    began = time.monotonic()
    plugin.disable()
    assert time.monotonic() - began < ENDED_BY_ITSELF
    assert not SOCKET.exists()
    assert "stopping" in plugin.log()[-1]
    assert not plugin.inspect()["Enabled"]
    plugin.enable()
    assert json.loads(plugin.convoy("list")) == {}
    until(lambda: "ready version=" in plugin.log()[-1], "a line in the log")


def test_removal_and_making_anew(engine: Engine, plugin: Plugin, volumes: list[str]) -> None:
    """11.66: volumes and data outlive `docker plugin rm`; what is built anew takes them over."""
    for volume in volumes:
        engine.run("echo precious > /data/file", f"{volume}:/data")
    plugin.docker("plugin", "rm", "--force", NAME)
    assert plugin.docker("plugin", "ls", "--quiet") == ""
    plugin.build()
    for volume in volumes:
        assert volume in engine.volume_names()
        assert engine.run("cat /data/file", f"{volume}:/data") == "precious\n"
        assert volume in json.loads(plugin.convoy("list"))


def test_replacement(engine: Engine, plugin: Plugin, name: str) -> None:
    """11.66: a second build refuses to replace the plugin, unless it is told to; data stays."""
    engine.run("echo precious > /data/file", f"{name}:/data", volume_driver=NAME)
    with pytest.raises(CommandError, match="FORCE=1"):
        plugin.build()
    plugin.build("--force")
    assert engine.run("cat /data/file", f"{name}:/data") == "precious\n"


def test_size(plugin: Plugin) -> None:
    """11.66: the root holds the daemon and its tools alone, and the daemon is small in memory."""
    root = plugin.rootfs()
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < 80 * 2**20
    assert {path.name for path in files}.isdisjoint({"sh", "bash", "dash", "apt", "dpkg", "pip3"})
    status = Path(f"/proc/{plugin.pid()}/status").read_text(encoding="ascii")
    kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    assert int(kibibytes) < 60 * 1024


def test_disable_in_use(engine: Engine, plugin: Plugin, volume: str) -> None:
    """11.67: the plugin of a volume is in use, and free when the volume is removed."""
    with pytest.raises(CommandError, match="in use"):
        plugin.disable()
    engine.remove_volume(volume)
    plugin.disable()
    with pytest.raises(CommandError, match="found but disabled"):
        plugin.docker("volume", "create", "--driver", "convoy", volume)


def test_disable_after_a_restart(lasting: Engine, plugin: Plugin, volume: str) -> None:
    """11.68: the same for a volume that was created before the engine was restarted."""
    lasting.restart()
    assert lasting.inspect(volume)["Status"]["state"] == "ready"
    with pytest.raises(CommandError, match="in use"):
        plugin.disable()
    lasting.remove_volume(volume)
    plugin.disable()
    plugin.enable()


def test_more_of_the_host(engine: Engine, plugin: Plugin, base: Path, name: str) -> None:
    """11.69: it also runs with the host's root, its network and its IPC."""
    manifest = json.loads((Path(__file__).parents[2] / "config.json").read_text())
    mount = {"type": "bind", "source": "/", "destination": "/host/root", "options": ["rbind"]}
    plugin.pack(
        base / name,
        "wide",
        mounts=[*manifest["mounts"], {"name": "root", **mount}],
        network={"type": "host"},
        ipchost=True,
    )
    plugin.disable()
    plugin.docker("plugin", "create", "wide:latest", str(base / name))
    try:
        plugin.docker("plugin", "enable", "wide:latest")
        for backend, options in BACKENDS.items():
            volume = f"{name}-{backend}"
            engine.create_volume(volume, "wide:latest", options)
            said = engine.run("echo fine > /data/file; cat /data/file", f"{volume}:/data")
            assert said == "fine\n"
            engine.remove_volume(volume)
    finally:
        plugin.docker("plugin", "rm", "--force", "wide:latest")


def test_run(engine: Engine, plugin: Plugin, volume: str) -> None:
    """11.70: what one container wrote another one finds, and then all is let go of."""
    engine.run("touch /data/file", f"{volume}:/data")
    assert engine.run("ls -A /data", f"{volume}:/data") == "file\n"
    assert plugin.is_released(volume)


def test_command_of_the_host(engine: Engine, plugin: Plugin, name: str) -> None:
    """11.70: `convoy` on the host drives the plugin: the engine has what it creates and removes."""
    plugin.convoy("create", name, "--size", "16M")
    assert engine.inspect(name)["Status"]["size"] == 16 * 2**20
    assert engine.run("touch /data/file; ls /data", f"{name}:/data") == "file\n"
    plugin.convoy("delete", name)
    assert name not in engine.volume_names()


def test_crash(engine: Engine, plugin: Plugin, volume: str, container: Any) -> None:
    """11.71: after a crash it is back with its mounts, and containers notice nothing."""
    before = plugin.pid(), plugin.mounts(volume), plugin.devices(volume), plugin.holds(volume)
    plugin.crash()
    shown = engine.inspect(volume)
    assert shown["Labels"] == {"kept": "yes"}
    assert (shown["Status"]["state"], shown["Status"]["references"]) == ("mounted", 1)
    assert plugin.pid() != before[0]
    assert (plugin.mounts(volume), plugin.devices(volume), plugin.holds(volume)) == before[1:]
    assert goes_on(container)
    container.kill()
    until(lambda: plugin.is_released(volume), "an unmount")
    assert engine.run("cat /data/file", f"{volume}:/data") == "precious\n"


def test_forced_disable(engine: Engine, plugin: Plugin, volume: str, container: Any) -> None:
    """11.72: a container keeps its volume while the plugin is away; nothing is counted twice."""
    devices = plugin.devices(volume)
    plugin.disable("--force")
    assert goes_on(container)
    plugin.enable()
    assert goes_on(container)
    assert engine.inspect(volume)["Status"]["references"] == 0
    assert engine.run("cat /data/file", f"{volume}:/data") == "precious\n"
    assert plugin.devices(volume) == devices
    with pytest.raises(CommandError, match=f"in use by container {container.id[:12]}"):
        plugin.convoy("delete", volume)
    container.kill()
    until(lambda: plugin.is_released(volume), "an unmount")


@pytest.mark.parametrize("end", ["restart", "kill"])
def test_engine_restart(engine: Engine, plugin: Plugin, volume: str, end: str) -> None:
    """11.73: a container with a restart policy has its volume again, which is counted once."""
    container = engine.background(
        f"{volume}:/data",
        command="echo once >> /data/file; exec sleep 1000000",
        restart_policy={"Name": "always"},
    )
    until(lambda: read(container) == "once\n", "the file")
    if end == "restart":
        engine.stop()
    else:
        engine.kill()
    engine.start()
    container = engine.client.containers.get(container.id)
    until(
        lambda: _has_begun_twice(container, plugin),
        lambda: f"a restart, but {read(container)!r}: {engine.told(container)}",
    )
    assert list(plugin.holds(volume).values()) == [1]
    assert len(plugin.devices(volume)) <= 1
    container.stop()
    until(lambda: plugin.is_released(volume), "an unmount")


def _has_begun_twice(container: Any, plugin: Plugin) -> bool:
    """It is restarted by hand where the engine has taken its mount away: it has not begun then.

    As is the plugin, where it is told that this helps.

    At its start after a kill the engine ends the plugin that has outlived it, and unmounts what
    that had mounted: beside load now and then only when the next instance serves already.
    """
    container.reload()
    if container.status == "running":
        return read(container) == "once\nonce\n"
    said = container.attrs["State"]["Error"].lower()
    is_cut_off = "do not reach containers any more" in said
    if is_cut_off:
        plugin.disable("--force")
        plugin.enable()
    if is_cut_off or "no such file or directory" in said or "unmounted by another program" in said:
        with suppress(APIError):  # it may happen again
            container.restart()
    return False


def test_mount_that_the_engine_takes_away(engine: Engine, plugin: Plugin, volume: str) -> None:
    """11.73: what the engine unmounts under a container that begins, nobody writes beside."""
    engine.run("echo precious > /data/file", f"{volume}:/data")
    # As it does late for the plugin that a killed engine left.
    below = f"grep -o '{plugin.propagated()}[^ ]*' /proc/self/mountinfo"
    with (
        engine.runtime(f"{below} | sort -r | xargs -n 1 umount --lazy") as late,
        pytest.raises(APIError, match="no such file or directory"),
    ):
        engine.run("echo lost > /data/file", f"{volume}:/data", runtime=late)
    until(lambda: plugin.is_released(volume), "an unmount")
    assert engine.run("cat /data/file", f"{volume}:/data") == "precious\n"


def test_folder_that_the_engine_takes_away(engine: Engine, plugin: Plugin, volume: str) -> None:
    """11.73: where the host shares no mounts, a container is told what helps, and that does."""
    folder = str(plugin.propagated())
    plugin.disable("--force")
    command.run(["mount", "--bind", "--make-private", folder, folder])
    plugin.enable()
    engine.run("echo precious > /data/file", f"{volume}:/data")
    command.run(["umount", "--recursive", "--lazy", folder])
    with pytest.raises(APIError, match="do not reach containers any more"):
        engine.run("echo lost > /data/file", f"{volume}:/data")
    plugin.disable("--force")
    plugin.enable()
    assert engine.run("cat /data/file", f"{volume}:/data") == "precious\n"


def test_live_restore_without_containers(lasting: Engine, plugin: Plugin, volume: str) -> None:
    """11.74: a plugin that outlived its engine mounts where the next engine's containers see it."""
    lasting.run("echo precious > /data/file", f"{volume}:/data")
    pid = plugin.pid()
    lasting.restart()
    assert plugin.pid() == pid
    container = lasting.background(f"{volume}:/data")
    assert read(container) == "precious\n"
    container.exec_run(["sh", "-c", "echo more >> /data/file"])
    container.kill()
    until(lambda: plugin.is_released(volume), "an unmount")
    assert lasting.run("cat /data/file", f"{volume}:/data") == "precious\nmore\n"


def test_live_restore(lasting: Engine, plugin: Plugin, volume: str, container: Any) -> None:
    """11.74: with a container, the volume stays mounted throughout, and is let go of at its end."""
    pid = plugin.pid()
    lasting.restart()
    assert plugin.pid() == pid
    container = lasting.client.containers.get(container.id)
    assert goes_on(container)
    assert lasting.run("cat /data/file", f"{volume}:/data") == "precious\n"
    container.kill()
    until(lambda: plugin.is_released(volume), "an unmount")


def test_upgrade(engine: Engine, plugin: Plugin, base: Path, volumes: list[str]) -> None:
    """11.75: installed from a registry and upgraded from it, volumes, data and settings stay."""
    for volume in volumes:
        engine.run("echo precious > /data/file", f"{volume}:/data")
    plugin.docker("plugin", "rm", "--force", NAME)
    granted = ("--grant-all-permissions", "--disable-content-trust")
    with registry(base / "registry") as place:
        first, second = (f"{place}/convoy:{tag}" for tag in ("one", "two"))
        for reference, tag in ((first, "one"), (second, "two")):
            plugin.pack(base / "version", tag, description=f"version {tag}")
            plugin.docker("plugin", "create", reference, str(base / "version"))
            plugin.docker("plugin", "push", reference)
            plugin.docker("plugin", "rm", reference)
        size = "CONVOY_DEFAULT_SIZE=32MiB"
        plugin.docker("plugin", "install", *granted, "--alias", NAME, first, size)
        for volume in volumes:
            assert engine.run("cat /data/file", f"{volume}:/data") == "precious\n"
        plugin.disable("--force")
        plugin.docker("plugin", "upgrade", *granted, "--skip-remote-check", NAME, second)
        plugin.enable()
    try:
        assert plugin.inspect()["Config"]["Description"] == "version two"
        assert (plugin.rootfs() / "etc/name").read_text() == "two"
        shown = json.loads(plugin.convoy("info"))["Settings"]["default_size"]
        assert shown == {"Value": 32 * 2**20, "Source": "environment"}
        for volume in volumes:
            assert engine.inspect(volume)["Labels"] == {"kept": "yes"}
            assert engine.run("cat /data/file", f"{volume}:/data") == "precious\n"
    finally:
        plugin.build("--force")


def test_settings(engine: Engine, plugin: Plugin, name: str) -> None:
    """11.76: what `docker plugin set` sets holds from the next enable on."""
    plugin.disable()
    plugin.set("CONVOY_DEFAULT_SIZE=32MiB", "CONVOY_DRIVERS=loopback", "CONVOY_LOG_LEVEL=debug")
    try:
        plugin.enable()
        engine.create_volume(name, NAME)
        status = engine.inspect(name)["Status"]
        assert (status["backend"], status["size"]) == ("loopback", 32 * 2**20)
        assert any("DEBUG" in line for line in plugin.log())
    finally:
        plugin.disable("--force")
        plugin.set("CONVOY_DEFAULT_SIZE=10GiB", "CONVOY_DRIVERS=directory,loopback")
        plugin.set("CONVOY_LOG_LEVEL=info")


def test_setting_the_folder(
    engine: Engine, plugin: Plugin, on_disk: Path, name: str, options: dict[str, str]
) -> None:
    """11.76: with another source of the mount `state` the volumes lie there."""
    place = on_disk / name
    place.mkdir()
    plugin.disable()
    plugin.set(f"state.source={place}")
    try:
        plugin.enable()
        engine.create_volume(name, NAME, options)
        engine.run("echo precious > /data/file", f"{name}:/data")
        assert (place / "convoy/volumes" / name / "volume.json").exists()
        assert not (ROOT / "volumes" / name).exists()
        _check_paths(engine, plugin, name)
        engine.remove_volume(name)
    finally:
        plugin.disable("--force")
        plugin.set("state.source=/var/lib")


def _check_paths(engine: Engine, plugin: Plugin, name: str) -> None:
    """What is told of a volume's data can be used on the host, where the folders have other names.

    Docker itself tells a folder of the plugin's as long as nothing is mounted.
    """
    if engine.inspect(name)["Status"]["backend"] == "directory":
        told = Path(engine.inspect(name)["Status"]["data"])
        assert (told / "file").read_text(encoding="utf-8") == "precious\n"
    mountpoint = Path(plugin.convoy("mount", name).strip())
    assert (mountpoint / "file").read_text(encoding="utf-8") == "precious\n"
    assert Path(engine.inspect(name)["Status"]["data"], "file").exists()
    plugin.convoy("umount", name)


def test_refused_settings(plugin: Plugin) -> None:
    """11.76: nothing is set while it is enabled, nor what is unknown, nor what is not for users."""
    with pytest.raises(CommandError, match="cannot set on an active plugin"):
        plugin.set("CONVOY_LOG_LEVEL=debug")
    plugin.disable()
    with pytest.raises(CommandError, match='"CONVOY_COLOUR" not found in the plugin config'):
        plugin.set("CONVOY_COLOUR=red")
    with pytest.raises(CommandError, match='"CONVOY_RUN_DIR" is not settable'):
        plugin.set("CONVOY_RUN_DIR=/tmp")


def test_slow_storage(engine: Engine, plugin: Plugin, name: str) -> None:
    """11.77: while records cannot be read yet it is enabled, and Get waits instead of denying."""
    engine.create_volume(name, NAME)
    plugin.disable("--force")
    # To open a pipe is to wait for who writes to it.
    record = ROOT / "volumes" / f"{name}-slow" / "volume.json"
    record.parent.mkdir()
    os.mkfifo(record)
    try:
        plugin.enable()
        url = f"unix://{engine.home}/docker.sock"
        argv = ["docker", "--host", url, "volume", "inspect", name]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as inspection:
            with pytest.raises(subprocess.TimeoutExpired):
                inspection.wait(1)
            record.write_text("unreadable")
            said, _ = inspection.communicate(timeout=120)
        (shown,) = json.loads(said)
        assert shown["Labels"] == {"kept": "yes"}
        assert shown["Status"]["state"] == "ready"
        assert engine.inspect(f"{name}-slow")["Status"]["state"] == "broken"
    finally:
        plugin.disable("--force")
        record.unlink()
        record.parent.rmdir()
