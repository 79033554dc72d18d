"""Engines that stop, crash and come back while containers hold volumes."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from docker.errors import APIError

from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine, prints
from tests.e2e.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.root]

ALWAYS = {"Name": "always"}


def test_crash(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.43, A12: after an engine's crash old IDs are mounted anew, and all ends unmounted."""
    plain = engine.background(f"{volume}:/data")
    restarted = engine.background(f"{volume}:/data", restart_policy=ALWAYS)
    restarted.exec_run(["sh", "-c", "echo precious > /data/file"])
    before = daemon.holds(volume)
    engine.kill()
    engine.start()
    restarted = _again(engine, restarted)
    assert prints(restarted, ["cat", "/data/file"]) == b"precious\n"
    plain = _again(engine, plain, start=True)
    assert prints(plain, ["cat", "/data/file"]) == b"precious\n"
    assert daemon.holds(volume) == before
    plain.stop()
    assert daemon.is_mounted(volume)
    restarted.stop()
    assert daemon.is_released(volume)


def test_leaked_references(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.39: a container that is removed after a crash leaves nothing that keeps its volume."""
    container = engine.background(f"{volume}:/data")
    assert daemon.holds(volume)
    engine.kill()
    engine.start()
    # It ends the container as it starts, so from now on the janitor may be quicker than we.
    engine.client.api.remove_container(container.id, force=True)
    until(lambda: _removed(engine, volume), "the removal of a volume that nobody uses")
    assert not daemon.data(volume).parent.exists()


def test_graceful_restart(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.44: an engine that stops unmounts, and mounts under new IDs when it is back."""
    container = engine.background(f"{volume}:/data", restart_policy=ALWAYS)
    container.exec_run(["sh", "-c", "echo precious > /data/file"])
    before = daemon.holds(volume)
    engine.stop()
    assert daemon.is_released(volume)
    engine.start()
    container = _again(engine, container)
    assert prints(container, ["cat", "/data/file"]) == b"precious\n"
    assert list(daemon.holds(volume).values()) == [1]
    assert not before.keys() & daemon.holds(volume).keys()


@pytest.mark.parametrize("end", [Engine.stop, Engine.kill], ids=["stopped", "crashed"])
def test_live_restore(
    engine: Engine, daemon: Daemon, volume: str, end: Callable[[Engine], None]
) -> None:
    """11.45: containers that outlive their engine keep their volume, and it ends unmounted."""
    with engine.live_restore():
        containers = [engine.background(f"{volume}:/data") for _ in range(2)]
        containers[0].exec_run(["sh", "-c", "echo precious > /data/file"])
        end(engine)
        assert daemon.is_mounted(volume)
        engine.start()
        assert daemon.is_mounted(volume)
        first, second = (engine.client.containers.get(c.id) for c in containers)
        # Engines before 20.10.26 lose count here, and with it the last Unmount.
        list(first.get_archive("/data/file")[0])
        assert prints(second, ["cat", "/data/file"]) == b"precious\n"
        first.stop()
        assert prints(second, ["cat", "/data/file"]) == b"precious\n"
        second.stop()
        until(lambda: daemon.is_released(volume), "an unmount, or a leak collected")


def test_death_while_the_engine_is_down(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.46: a container that died unseen is started and stopped again, and ends unmounted."""
    with engine.live_restore():
        container = engine.background(f"{volume}:/data")
        process = engine.client.api.inspect_container(container.id)["State"]["Pid"]
        engine.stop()
        _kill(process)
        engine.start()
        container = engine.client.containers.get(container.id)
        until(lambda: _state(container) == "exited", "the death noticed")
        container.start()
        assert daemon.is_mounted(volume)
        container.stop()
        until(lambda: daemon.is_released(volume), "an unmount, or a leak collected")


def test_daemon_missing_at_engine_start(engine: Engine, daemon: Daemon, name: str) -> None:
    """11.53: an engine that starts without the daemon waits 15 s and forgets nothing."""
    engine.create_volume(name, daemon.name)
    engine.run("echo precious > /data/file", f"{name}:/data")
    engine.stop()
    daemon.stop()
    engine.start()
    daemon.start()
    assert engine.inspect(name)["Labels"] == {"kept": "yes"}
    assert engine.run("cat /data/file", f"{name}:/data") == "precious\n"


def _again(engine: Engine, container: Any, *, start: bool = False) -> Any:
    """The container as the restarted engine knows it, running."""
    found = engine.client.containers.get(container.id)
    if start:
        found.start()
    until(lambda: _state(found) == "running", "a running container")
    return found


def _state(container: Any) -> str:
    container.reload()
    status: str = container.status
    return status


def _removed(engine: Engine, volume: str) -> bool:
    try:
        engine.remove_volume(volume)
    except APIError:
        return False
    return True


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the container's process")
