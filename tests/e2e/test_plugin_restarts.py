"""The daemon stops, crashes, comes late or never, while an engine calls it."""

import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine, prints
from tests.e2e.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.root]

# In the engine's log, with an address that depends on its version.
RETRYING = "Unable to connect to plugin"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Runs what has to wait for the daemon."""
    with ThreadPoolExecutor(8) as found:
        yield found


def test_idle_restart(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.48: a restarted daemon knows mounts and references, and is not activated again."""
    container = engine.background(f"{volume}:/data")
    container.exec_run(["sh", "-c", "echo precious > /data/file"])
    before, activated = daemon.holds(volume), daemon.calls().count("activate")
    assert daemon.stop() == 0
    assert daemon.is_mounted(volume)
    assert prints(container, ["cat", "/data/file"]) == b"precious\n"
    daemon.start()
    assert engine.inspect(volume)["Status"]["references"] == 1
    assert daemon.holds(volume) == before
    assert engine.run("cat /data/file", f"{volume}:/data") == "precious\n"
    assert daemon.is_mounted(volume)
    container.stop()
    assert daemon.is_released(volume)
    assert daemon.calls().count("activate") == activated


def test_crash_with_containers(engine: Engine, daemon: Daemon, volume: str) -> None:
    """A1, 11.48: after SIGKILL the daemon serves again with the same mounts and counts."""
    container = engine.background(f"{volume}:/data")
    before = daemon.holds(volume)
    daemon.kill()
    daemon.start()
    assert daemon.holds(volume) == before
    container.stop()
    assert daemon.is_released(volume)


def test_restart_during_run(
    engine: Engine, daemon: Daemon, volume: str, pool: ThreadPoolExecutor
) -> None:
    """B16, 11.27: a run that finds the daemon down waits for it and succeeds."""
    daemon.stop()
    before = _said(engine, RETRYING)
    said = pool.submit(engine.run, "echo fine", f"{volume}:/data")
    until(lambda: _said(engine, RETRYING) > before + 1, "the engine's retries")
    daemon.start()
    assert said.result(20) == "fine\n"


def test_late_plugin(engine: Engine, spare: Daemon, name: str, pool: ThreadPoolExecutor) -> None:
    """11.27: a plugin whose socket appears while the engine looks for it is found."""
    said = pool.submit(engine.run, "echo fine", f"{name}:/data", volume_driver=spare.name)
    until(lambda: _lookups(engine, spare) > 1, "the engine's look-ups")
    spare.start()
    assert said.result(20) == "fine\n"


def test_missing_driver_blocks_nobody(
    engine: Engine, spare: Daemon, name: str, pool: ThreadPoolExecutor
) -> None:
    """11.28: while the engine waits for one driver, another driver's volume is made at once."""
    waiting = pool.submit(engine.create_volume, name, spare.name)
    until(lambda: _lookups(engine, spare) > 1, "the engine's look-ups")
    engine.client.volumes.create(f"{name}-local", driver="local")
    assert not waiting.done()
    spare.start()
    waiting.result(20)


def test_get_lost_in_a_retry(
    engine: Engine, daemon: Daemon, name: str, pool: ThreadPoolExecutor
) -> None:
    """11.50: a Get cut off by a crash is not taken for 'no such volume': the labels are kept."""
    engine.create_volume(name, daemon.name)
    with daemon.suspended():
        inspection = pool.submit(engine.inspect, name)
        until(lambda: _waiting_connections(daemon), "the engine's call")
        daemon.kill()
    daemon.start()
    with pytest.raises(APIError, match=r"EOF|error while checking"):
        inspection.result(40)
    assert engine.inspect(name)["Labels"] == {"kept": "yes"}


def test_stale_socket(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.54: the socket file that a crash left is replaced, and volume ls does not wait for it."""
    daemon.kill()
    assert daemon.socket.is_socket()
    daemon.start()
    began = time.monotonic()
    assert volume in engine.volume_names()
    assert time.monotonic() - began < 5
    daemon.stop()
    assert not daemon.socket.exists()


def test_socket_activation(
    engine: Engine, spare: Daemon, name: str, pool: ThreadPoolExecutor
) -> None:
    """11.52: while a unit holds the socket, calls wait for the daemon's start and are served."""
    spare.listen()
    waiting: list[Future[Any]] = [
        pool.submit(engine.create_volume, name, spare.name),
        pool.submit(engine.volume_names),
    ]
    until(lambda: _waiting_connections(spare), "the engine's calls")
    assert not any(future.done() for future in waiting)
    spare.start()
    for future in waiting:
        future.result(20)
    assert spare.names() == [name]
    assert spare.stop() == 0
    assert spare.socket.is_socket()
    again = pool.submit(engine.run, "echo fine", f"{name}:/data")
    until(lambda: _waiting_connections(spare), "the engine's calls")
    spare.start()
    assert again.result(20) == "fine\n"


def test_restarts_under_load(
    engine: Engine, spare: Daemon, name: str, pool: ThreadPoolExecutor
) -> None:
    """11.52: of volumes made and removed over five socket-activated restarts none fails."""
    spare.listen()
    spare.start()
    with _load(engine, spare, name, pool) as made:
        for _ in range(5):
            made.clear()
            until(lambda: len(made) > 8, "some volumes")
            assert spare.stop() == 0
            spare.start()
    spare.clear()
    assert spare.leftovers() == []


@contextmanager
def _load(
    engine: Engine, daemon: Daemon, name: str, pool: ThreadPoolExecutor
) -> Iterator[list[str]]:
    """Create and remove volumes in two threads; every failure is raised at the end."""
    made: list[str] = []
    stop = threading.Event()

    def work(worker: int) -> None:
        while not stop.is_set():
            volume = f"{name}-{worker}-{secrets.token_hex(4)}"
            engine.create_volume(volume, daemon.name)
            engine.remove_volume(volume)
            made.append(volume)

    workers: list[Future[None]] = [pool.submit(work, worker) for worker in range(2)]
    try:
        yield made
    finally:
        stop.set()
        for worker in workers:
            worker.result(60)


def _lookups(engine: Engine, daemon: Daemon) -> int:
    """How often the engine has looked for the daemon's driver in vain."""
    return _said(engine, f"Unable to locate plugin: {daemon.name}")


def _said(engine: Engine, text: str) -> int:
    """How often the engine's log has a text."""
    return (engine.home / "log").read_text(encoding="utf-8", errors="replace").count(text)


def _waiting_connections(daemon: Daemon) -> bool:
    """Whether somebody is connected to the plugin socket, besides the listener itself."""
    lines = Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()
    return sum(line.endswith(f" {daemon.socket}") for line in lines) > 1
