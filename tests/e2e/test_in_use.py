"""Volumes that somebody uses: removal refused, unmounts that have to wait, data gone beneath."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from docker.errors import APIError

from tests.e2e import host
from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine, prints
from tests.e2e.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.root]


def test_removal_in_use(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.38: the engine refuses to remove a volume in use, with and without force; no Remove."""
    engine.background(f"{volume}:/data")
    for force in (False, True):
        with pytest.raises(APIError, match="volume is in use") as caught:
            engine.remove_volume(volume, force=force)
        assert caught.value.status_code == 409
    assert "remove" not in daemon.calls(volume)


def test_removal_behind_the_engines_back(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.40: a volume that a container sees is not removed, whatever is counted; it is named."""
    container = engine.background(f"{volume}:/data")
    container.exec_run(["sh", "-c", "echo precious > /data/file"])
    (mount_id,) = daemon.holds(volume)
    daemon.unmount(volume, mount_id)
    refused = daemon.call("/VolumeDriver.Remove", {"Name": volume})
    assert refused.status == 500
    assert f"volume {volume} is in use by container {container.id[:12]}" in refused.error
    assert prints(container, ["cat", "/data/file"]) == b"precious\n"
    container.stop()
    assert engine.run("cat /data/file", f"{volume}:/data") == "precious\n"


def test_removal_of_a_mounted_volume(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.40: the same while the container's reference is counted, with the data left in place."""
    container = engine.background(f"{volume}:/data")
    refused = daemon.call("/VolumeDriver.Remove", {"Name": volume})
    assert refused.status == 500
    assert f"volume {volume} is in use by" in refused.error
    assert container.exec_run(["touch", "/data/file"]).exit_code == 0


def test_busy_unmount(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.58, C26: a file held open on the host delays the unmount, but not docker stop."""
    container = engine.background(f"{volume}:/data")
    container.exec_run(["touch", "/data/file"])
    exposed = Path(engine.inspect(volume)["Mountpoint"])
    with (exposed / "file").open("rb"):
        container.stop()
        assert engine.client.api.inspect_container(container.id)["State"]["Running"] is False
        assert daemon.calls(volume)[-1] == "unmount"
        assert daemon.holds(volume) == {}
        assert daemon.is_mounted(volume)
    until(lambda: daemon.is_released(volume), "the janitor's unmount")


def test_failed_unmount(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.59: an Unmount that cannot be recorded is not told as failed, and is made up for later."""
    container = engine.background(f"{volume}:/data")
    references = daemon.run_dir / "references"
    subprocess.run(["chattr", "+i", references], check=True)
    try:
        container.stop()
        (unmount,) = (line for line in daemon.lines_of(volume) if line["message"] == "unmount")
        assert unmount["result"] == "ok"
        assert engine.inspect(volume)["Status"]["references"] == 0
        assert daemon.is_mounted(volume)
    finally:
        subprocess.run(["chattr", "-i", references], check=True)
    until(lambda: daemon.is_released(volume), "the janitor's unmount")
    container.start()
    assert list(daemon.holds(volume).values()) == [1]
    container.stop()
    assert daemon.is_released(volume)


def test_data_gone_while_mounted(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.13, B24: a volume whose data is gone is told as broken, not forgotten, not made anew."""
    container = engine.background(f"{volume}:/data")
    data = daemon.data(volume)
    hidden = data.with_name("hidden")
    data.rename(hidden)
    try:
        assert engine.inspect(volume)["Labels"] == {"kept": "yes"}
        container.stop()
        assert daemon.calls(volume)[-1] == "unmount"
        with pytest.raises(APIError, match=f"volume {volume}: its (image|folder) .* missing"):
            container.start()
        shown = engine.inspect(volume)
        assert shown["Labels"] == {"kept": "yes"}
        assert shown["Status"]["state"] == "broken"
        assert "missing" in shown["Status"]["reason"]
        assert volume in engine.volume_names()
        assert not data.exists()
    finally:
        hidden.rename(data)
    container.start()
    assert engine.inspect(volume)["Status"]["state"] == "mounted"
    container.stop()
    until(lambda: daemon.is_released(volume), "an unmount")


def test_mount_leaked_to_a_namespace(engine: Engine, daemon: Daemon, name: str) -> None:
    """C27: a copy of the mount in another namespace, as a container's start may leave, goes too."""
    engine.create_volume(name, daemon.name, {"size": "16M"})
    container = engine.background(f"{name}:/data")
    with _in_own_namespace("true"):
        container.stop()
        assert daemon.is_released(name)
        assert engine.run("echo fine", f"{name}:/data") == "fine\n"


def test_volume_bound_in_a_namespace(engine: Engine, daemon: Daemon, name: str) -> None:
    """C27: an image that is live in another namespace keeps its one loop device until that ends."""
    engine.create_volume(name, daemon.name, {"size": "16M"})
    container = engine.background(f"{name}:/data")
    (device,) = host.loop_devices(daemon.data(name))
    exposed = engine.inspect(name)["Mountpoint"]
    with _in_own_namespace(f"mount --bind {exposed} /mnt") as pid:
        container.stop()
        assert not daemon.is_mounted(name)
        assert host.loop_devices(daemon.data(name)) == [device]
        refused = daemon.call("/VolumeDriver.Remove", {"Name": name})
        assert f"volume {name} is in use by process {pid}" in refused.error
        container.start()
        assert container.exec_run(["touch", "/data/file"]).exit_code == 0
        assert host.loop_devices(daemon.data(name)) == [device]
        container.stop()
    until(lambda: daemon.is_released(name), "the device let go of")


def test_image_attached_by_someone_else(engine: Engine, daemon: Daemon, name: str) -> None:
    """C28: an image on somebody else's loop device is not mounted, and the device is named."""
    engine.create_volume(name, daemon.name, {"size": "16M"})
    image = daemon.data(name)
    argv = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    try:
        with pytest.raises(APIError, match=f"attached to {device} by someone else"):
            engine.run("true", f"{name}:/data")
        assert len(host.loop_devices(image)) == 1
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
    assert engine.run("echo fine", f"{name}:/data") == "fine\n"


def test_foreign_unmount(engine: Engine, daemon: Daemon, volume: str) -> None:
    """C29: a mount that someone took away lazily comes back on the same loop device."""
    first = engine.background(
        f"{volume}:/data", command="echo one > /data/file; exec sleep 1000000"
    )
    until(lambda: prints(first, ["cat", "/data/file"]) == b"one\n", "the file")
    devices = host.loop_devices(daemon.data(volume))
    subprocess.run(["umount", "-l", daemon.mountpoint(volume)], check=True)
    second = engine.background(f"{volume}:/data")
    assert prints(second, ["cat", "/data/file"]) == b"one\n"
    assert host.loop_devices(daemon.data(volume)) == devices
    first.stop()
    assert second.exec_run(["touch", "/data/more"]).exit_code == 0
    second.stop()
    until(lambda: daemon.is_released(volume), "an unmount")


def test_foreign_mount(engine: Engine, daemon: Daemon, name: str) -> None:
    """C30: what is mounted over a volume is not given to a container, nor unmounted by us."""
    engine.create_volume(name, daemon.name, {"size": "16M"})
    container = engine.background(f"{name}:/data")
    mountpoint = daemon.mountpoint(name)
    subprocess.run(["mount", "-t", "tmpfs", "foreign", mountpoint], check=True)
    try:
        with pytest.raises(APIError, match=f"volume {name}: foreign .* is mounted over"):
            engine.run("touch /data/astray", f"{name}:/data")
        assert os.listdir(mountpoint) == []
        container.stop()
        # Several looks of the janitor later it still is as it was.
        looks = _looks(daemon, name)
        until(lambda: _looks(daemon, name) > looks + 2, "the janitor's looks")
        assert len(host.mounts_at(mountpoint)) == 2
    finally:
        subprocess.run(["umount", mountpoint], check=True)
    until(lambda: daemon.is_released(name), "an unmount")
    assert engine.run("ls -A /data", f"{name}:/data") == ""


def test_unused_mountpoint_takes_no_data(daemon: Daemon, volume: str) -> None:
    """C30: while a volume is not mounted there is no folder into which data could go astray."""
    assert not daemon.mountpoint(volume).exists()


def _looks(daemon: Daemon, volume: str) -> int:
    """How often the daemon, not asked by an engine, found something wrong with a volume."""
    return sum(line["logger"] == "convoy.janitor" for line in daemon.lines_of(volume))


@contextmanager
def _in_own_namespace(command: str) -> Iterator[int]:
    """The pid of a process with a private copy of all mounts, after it ran `command` there."""
    script = f"{command} && echo ready && exec sleep 1000000"
    argv = ["unshare", "-m", "--propagation", "private", "sh", "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == b"ready\n"
            yield child.pid
        finally:
            child.kill()
