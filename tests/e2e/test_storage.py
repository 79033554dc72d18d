"""Storage that hangs, and a daemon whose mounts nobody would see."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from docker.errors import APIError

from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine
from tests.e2e.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.root]

HOST_SIZE = 2**30


@pytest.fixture
def hanging(spare: Daemon) -> Daemon:
    """A running daemon with a filesystem of its own below its root, so that it can be frozen."""
    image = spare.home / "host"
    with image.open("wb") as file:
        file.truncate(HOST_SIZE)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    spare.root.mkdir()
    subprocess.run(["mount", "-o", "loop", image, spare.root], check=True)
    spare.start()
    return spare


@contextmanager
def frozen(daemon: Daemon) -> Iterator[Callable[[], None]]:
    """Let every write below the root hang, until the end or until what is given is called."""
    subprocess.run(["fsfreeze", "--freeze", daemon.root], check=True)
    thawed = False

    def thaw() -> None:
        nonlocal thawed
        if not thawed:
            subprocess.run(["fsfreeze", "--unfreeze", daemon.root], check=True)
            thawed = True

    try:
        yield thaw
    finally:
        thaw()


def test_storage_hangs(engine: Engine, hanging: Daemon, name: str) -> None:
    """11.13, B22: while writes hang, reads and other volumes' calls are answered at once."""
    options = {"size": "16M"}
    engine.create_volume(name, hanging.name, options)
    container = engine.background(f"{name}:/data")
    with ThreadPoolExecutor(32) as pool, frozen(hanging) as thaw:
        stuck = [
            pool.submit(engine.create_volume, f"{name}-{number}", hanging.name, options)
            for number in range(32)
        ]
        until(lambda: hanging.calls().count("get") >= 32, "the engine's calls")
        began = time.monotonic()
        assert engine.inspect(name)["Labels"] == {"kept": "yes"}
        assert name in engine.volume_names()
        assert hanging.call("/VolumeDriver.Path", {"Name": name}).status == 200
        # Nothing is written where it hangs: references lie in the run folder.
        assert hanging.mount(name, "a" * 64).is_dir()
        hanging.unmount(name, "a" * 64)
        assert time.monotonic() - began < 5, "well below a second, but for a busy machine"
        assert not any(future.done() for future in stuck)
        thaw()
        for future in stuck:
            future.result(60)
    assert len(hanging.names()) == 33
    container.stop()
    until(lambda: hanging.is_released(name), "an unmount")


def test_crash_in_mid_create(
    engine: Engine, hanging: Daemon, name: str, options: dict[str, str]
) -> None:
    """11.49, B15: a Create cut off by a crash fails clearly, leaves nothing, can be repeated."""
    with ThreadPoolExecutor(1) as pool:
        with frozen(hanging) as thaw:
            creation = pool.submit(engine.create_volume, name, hanging.name, options)
            until(lambda: "get" in hanging.calls(name), "the engine's call")
            until(lambda: _is_stuck(hanging), "a create that hangs")
            hanging.send(signal.SIGKILL)
            thaw()
            hanging.kill()
        assert hanging.calls(name) == ["get"]
        hanging.start()
        with pytest.raises(APIError, match="request body lost in an engine retry"):
            creation.result(30)
    assert hanging.names() == []
    engine.create_volume(name, hanging.name, options)
    assert engine.run("ls -A /data; echo fine", f"{name}:/data") == "fine\n"
    until(lambda: not list((hanging.root / "volumes").glob(".new-*")), "the sweep")


def test_mounts_that_nobody_sees(engine: Engine, spare: Daemon, name: str) -> None:
    """C31: a daemon whose mounts cannot reach the engine refuses to mount, and says why."""
    spare.launcher = ("unshare", "--mount", "--propagation", "private")
    spare.start()
    engine.create_volume(name, spare.name)
    with pytest.raises(APIError, match="mount namespace"):
        engine.run("touch /data/file", f"{name}:/data")
    assert list(spare.data(name).iterdir()) == []
    assert engine.inspect(name)["Labels"] == {"kept": "yes"}
    assert not spare.mountpoint(name).exists()


def _is_stuck(daemon: Daemon) -> bool:
    """Whether one of the daemon's threads waits for the frozen filesystem, uninterruptibly."""
    states = (path.read_text() for path in Path(f"/proc/{daemon.pid}/task").glob("*/stat"))
    return any(state.rpartition(")")[2].split()[0] == "D" for state in states)
