"""Many volumes, and many callers at once."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e import host
from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine
from tests.e2e.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.root]


def test_thousand_volumes(engine: Engine, daemon: Daemon, name: str) -> None:
    """11.14: 1,000 volumes are listed by one List, and each is named."""
    expected = {f"{name}-{number}" for number in range(1000)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(daemon.create, expected))
    engine.volume_names()
    before = daemon.calls().count("list")
    names = engine.volume_names()
    assert daemon.calls().count("list") == before + 1
    assert expected <= set(names)
    found = daemon.call("/VolumeDriver.List", {}).body["Volumes"]
    assert None not in found
    daemon.clear()  # many times faster than by way of the engine


def test_start_with_known_volumes(engine: Engine, daemon: Daemon, name: str) -> None:
    """11.63: 300 volumes are made at once, and an engine's start asks for all of them at once."""
    names = [f"{name}-{number}" for number in range(300)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda each: engine.create_volume(each, daemon.name), names))
    assert set(names) <= set(daemon.names())
    before = {each: len(daemon.calls(each)) for each in names[:3]}
    began = time.monotonic()
    engine.restart()
    # One failed connection would cost a second, one missing answer fifteen.
    assert time.monotonic() - began < 10
    for each, calls in before.items():
        assert daemon.calls(each)[calls:] == ["get"]
    assert engine.inspect(names[-1])["Labels"] == {"kept": "yes"}
    daemon.clear()


def test_many_containers(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.63: containers started at once on one volume share one mount, and 100 Mounts do so too."""
    with ThreadPoolExecutor(6) as pool:
        containers = list(pool.map(lambda _: engine.background(f"{volume}:/data"), range(6)))
        assert sorted(daemon.holds(volume).values()) == [1] * 6
        list(pool.map(lambda number: daemon.mount(volume, f"{number:064x}"), range(100)))
        assert len(host.mounts_at(daemon.mountpoint(volume))) == 1
        list(pool.map(lambda number: daemon.unmount(volume, f"{number:064x}"), range(100)))
        assert daemon.is_mounted(volume)
        list(pool.map(lambda container: container.kill(), containers))
    until(lambda: daemon.is_released(volume), "an unmount after the last")
