"""Containers with volumes: start, stop, restart, copy, and what of it reaches the daemon."""

import io
import tarfile
from typing import Any

import pytest
from docker.errors import APIError

from tests.e2e import host
from tests.e2e.daemon import Daemon
from tests.e2e.engine import CONTENT, CONTENT_FILES, CONTENT_MODE, CONTENT_OWNER, Engine, prints
from tests.e2e.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.root]


def test_run_with_a_new_volume(
    engine: Engine, daemon: Daemon, name: str, options: dict[str, str]
) -> None:
    """11.17: run --rm creates the named volume, mounts as often as it unmounts, and keeps data."""
    assert (
        engine.run("echo precious > /data/file", f"{name}:/data", volume_driver=daemon.name) == ""
    )
    activated = daemon.calls().count("activate")
    calls = daemon.calls(name)
    assert calls.count("create") == 1
    assert calls.count("mount") == calls.count("unmount") > 0
    assert engine.run("cat /data/file", f"{name}:/data") == "precious\n"
    engine.remove_volume(name)
    assert daemon.calls(name).count("remove") == 1
    assert not daemon.data(name).parent.exists()
    assert daemon.calls().count("activate") == activated > 0


def test_anonymous_volume(engine: Engine, daemon: Daemon) -> None:
    """11.18: an anonymous volume of 64 digits lives as long as its container with --rm."""
    before = set(daemon.names())
    container = engine.background(
        "/data", volume_driver=daemon.name, command="touch /data/file; exec sleep 1000000"
    )
    (created,) = set(daemon.names()) - before
    assert len(created) == 64
    container.remove(force=True, v=True)
    assert created not in daemon.names()
    calls = daemon.calls(created)
    assert (calls.count("create"), calls.count("remove")) == (1, 1)
    assert calls.count("mount") == calls.count("unmount") > 0


def test_volumes_from(engine: Engine, daemon: Daemon) -> None:
    """11.19: a container with another's volumes mounts them itself, and rm -v removes one once."""
    options = {"DriverConfig": {"Name": daemon.name}}
    mount = {"Type": "volume", "Target": "/data", "VolumeOptions": options}
    first = engine.background(mounts=[mount])
    (created,) = daemon.names()
    engine.run("echo shared > /data/file", volumes_from=[first.id])
    assert daemon.calls(created).count("mount") == 2
    assert prints(first, ["cat", "/data/file"]) == b"shared\n"
    first.remove(force=True, v=True)
    calls = daemon.calls(created)
    assert (calls.count("mount"), calls.count("unmount"), calls.count("remove")) == (2, 2, 1)


def test_forced_removal_of_a_container(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.20: rm -f unmounts once, and rm -v does not remove a volume that has a name."""
    container = engine.background(f"{volume}:/data")
    container.remove(force=True, v=True)
    assert daemon.calls(volume).count("unmount") == 1
    assert daemon.is_released(volume)
    assert "remove" not in daemon.calls(volume)


def test_mounts_are_shown(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.21: inspect of a container names the volume, its driver, and where it lies."""
    container = engine.background(f"{volume}:/data")
    (mount,) = engine.client.api.inspect_container(container.id)["Mounts"]
    assert (mount["Name"], mount["Driver"], mount["Destination"]) == (
        volume,
        daemon.name,
        "/data",
    )


def test_mount_id(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.23: a running container holds its volume under one ID of 64 hex digits."""
    engine.background(f"{volume}:/data")
    ((mount_id, count),) = daemon.holds(volume).items()
    assert len(mount_id) == 64
    assert int(mount_id, 16) >= 0
    assert count == 1


def test_failed_mount(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.24, B20: a Mount that fails tells why, gets no Unmount and leaves no reference."""
    data = daemon.data(volume)
    hidden = data.with_name("hidden")
    data.rename(hidden)
    try:
        for settings in ({}, {"working_dir": "/data"}):
            with pytest.raises(APIError, match=f"volume {volume}: its (image|folder) .* missing"):
                engine.run("true", f"{volume}:/data", **settings)
        assert "unmount" not in daemon.calls(volume)
        assert daemon.is_released(volume)
        assert not data.exists()
    finally:
        hidden.rename(data)
    assert engine.run("echo fine", f"{volume}:/data") == "fine\n"


def test_copy_on_a_running_container(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.25, B17: docker cp mounts again under the container's own ID and never unmounts it."""
    container = engine.background(
        f"{volume}:/data",
        command="i=0; while echo $i > /data/count && sync; do i=$((i+1)); done; echo lost",
    )
    held = daemon.holds(volume)
    for _ in range(3):
        _copy_in(container, "/data", "copied", b"content")
        assert _copy_out(container, "/data/copied") == b"content"
        assert daemon.is_mounted(volume)
        assert daemon.holds(volume) == held
    calls = daemon.calls(volume)
    assert calls.count("mount") - calls.count("unmount") == 1
    assert calls.count("mount") > 3
    assert (
        container.exec_run(["sh", "-c", "echo more > /data/more && cat /data/more"]).exit_code == 0
    )
    assert b"lost" not in container.logs()
    container.kill()
    until(lambda: daemon.is_released(volume), "an unmount after the kill")
    calls = daemon.calls(volume)
    assert calls.count("mount") == calls.count("unmount")


def test_copy_on_a_stopped_container(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.26: docker cp on a stopped container mounts, copies, and unmounts."""
    container = engine.create(f"{volume}:/data")
    _copy_in(container, "/data", "copied", b"content")
    assert _copy_out(container, "/data/copied") == b"content"
    assert daemon.calls(volume).count("mount") >= 2
    assert daemon.is_released(volume)


def test_two_destinations(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.30: one container with a volume at two places holds one mount under two IDs."""
    container = engine.background(f"{volume}:/a", f"{volume}:/b")
    assert sorted(daemon.holds(volume).values()) == [1, 1]
    assert len(host.mounts_at(daemon.mountpoint(volume))) == 1
    container.exec_run(["sh", "-c", "echo same > /a/file"])
    assert prints(container, ["cat", "/b/file"]) == b"same\n"
    container.stop()
    assert daemon.is_released(volume)


def test_two_containers(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.31, B18: a volume that two containers share is unmounted after the second one."""
    first, second = (engine.background(f"{volume}:/data") for _ in range(2))
    assert len(host.mounts_at(daemon.mountpoint(volume))) == 1
    first.exec_run(["sh", "-c", "echo shared > /data/file"])
    first.stop()
    assert daemon.is_mounted(volume)
    assert prints(second, ["cat", "/data/file"]) == b"shared\n"
    second.stop()
    assert daemon.is_released(volume)


def test_restart_of_a_container(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.32: docker restart unmounts the old ID, mounts a new one, and the data is there."""
    container = engine.background(f"{volume}:/data")
    container.exec_run(["sh", "-c", "echo precious > /data/file"])
    before = daemon.holds(volume)
    container.restart(timeout=1)
    after = daemon.holds(volume)
    assert list(after.values()) == [1]
    assert after.keys() != before.keys()
    assert prints(container, ["cat", "/data/file"]) == b"precious\n"


def test_failed_start(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.33: a container whose command is not there is unmounted again."""
    with pytest.raises(APIError, match="no such file"):
        engine.run(["/no/such/command"], f"{volume}:/data")
    calls = daemon.calls(volume)
    assert calls.count("mount") == calls.count("unmount") > 0
    assert daemon.is_released(volume)


def test_copy_up(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.34: an empty volume gets the image's files, owner and mode; no lost+found hinders."""
    look = f"stat -c '%u:%g %a' {CONTENT}; cd {CONTENT}; ls -A; cat first deeper/second"
    said = engine.run(look, f"{volume}:{CONTENT}").split("\n", 1)
    assert said[0] == "{}:{} {:o}".format(*CONTENT_OWNER, CONTENT_MODE)
    assert said[1] == "deeper\nfirst\n" + b"".join(CONTENT_FILES.values()).decode()
    again = engine.run(
        f"echo changed > {CONTENT}/first; cat {CONTENT}/first", f"{volume}:{CONTENT}"
    )
    assert again == "changed\n"
    assert engine.run(f"cat {CONTENT}/first", f"{volume}:{CONTENT}") == "changed\n"


def test_empty_volume(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.34: a container sees nothing in a new volume, and may write to it as root."""
    assert engine.run("ls -A /data; stat -c '%u:%g %a' /data", f"{volume}:/data") == "0:0 755\n"


def test_no_copy(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.35: with nocopy there is one Mount and the volume stays empty."""
    assert engine.run(f"ls -A {CONTENT}", f"{volume}:{CONTENT}:nocopy") == ""
    assert daemon.calls(volume).count("mount") == 1


def test_subpath(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.36: from engine 26 on a folder of a volume can be had; a missing one is unmounted."""
    engine.run("mkdir /data/inner; touch /data/inner/below /data/above", f"{volume}:/data")
    found = _run_with_subpath(engine, volume, "inner")
    # An older engine does not know the field, and gives the whole volume.
    understood = engine.version >= (26,)
    assert found == ("below\n" if understood else "above\ninner\n")
    if understood:
        with pytest.raises(APIError):
            _run_with_subpath(engine, volume, "missing")
    assert daemon.is_released(volume)


def test_read_only(engine: Engine, daemon: Daemon, volume: str) -> None:
    """11.37: a volume may be read-only in one container and writable in another."""
    reader = engine.background(f"{volume}:/data:ro")
    writer = engine.background(f"{volume}:/data")
    assert reader.exec_run(["touch", "/data/file"]).exit_code != 0
    assert writer.exec_run(["sh", "-c", "echo shared > /data/file"]).exit_code == 0
    assert prints(reader, ["cat", "/data/file"]) == b"shared\n"


def test_size_is_a_limit(engine: Engine, daemon: Daemon, name: str) -> None:
    """11.11: a loopback volume takes no more than its size, and the host keeps the rest."""
    engine.create_volume(name, daemon.name, {"size": "16M"})
    said = engine.run("dd if=/dev/zero of=/data/file bs=1M count=32 2>&1; true", f"{name}:/data")
    assert "No space left on device" in said


def _copy_in(container: Any, folder: str, name: str, data: bytes) -> None:
    """`docker cp - CONTAINER:folder`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    assert container.put_archive(folder, buffer.getvalue())


def _copy_out(container: Any, path: str) -> bytes:
    """`docker cp CONTAINER:path -`."""
    chunks, _ = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        file = tar.extractfile(tar.getmembers()[0])
        assert file is not None
        return file.read()


def _run_with_subpath(engine: Engine, volume: str, subpath: str) -> str:
    """What `ls` says of a volume's folder; the SDK's own types do not know the option."""
    mount = {
        "Type": "volume",
        "Source": volume,
        "Target": "/data",
        "VolumeOptions": {"Subpath": subpath},
    }
    return engine.run("ls -A /data", mounts=[mount])
