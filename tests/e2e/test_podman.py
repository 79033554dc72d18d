"""Podman, a second client of the protocol: no discovery, one mount ID for all, five seconds."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from docker.models.containers import Container

from tests.e2e import host
from tests.e2e.daemon import Daemon
from tests.e2e.engine import CONTENT, Engine, prints
from tests.e2e.podman import Podman, PodmanError
from tests.e2e.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.root]

# The one ID that Podman gives for every volume. Source: libpod/define/volume_inspect.go.
PODMAN_ID = "2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@pytest.fixture(scope="module")
def the_podman(base: Path, the_daemon: Daemon) -> Iterator[Podman]:
    found = Podman(base / "podman", {the_daemon.name: the_daemon.socket})
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def podman(the_podman: Podman, daemon: Daemon) -> Iterator[Podman]:
    """Podman without containers and volumes."""
    yield the_podman
    daemon.ensure_running()
    the_podman.clear()


@pytest.fixture
def kept(podman: Podman, daemon: Daemon, name: str, options: dict[str, str]) -> str:
    """The name of a volume that Podman created; the test runs for each backend."""
    podman.create_volume(name, daemon.name, options)
    return name


def test_life_of_a_volume(
    podman: Podman, daemon: Daemon, name: str, options: dict[str, str]
) -> None:
    """11.78: create, ls, inspect and rm work, and the data goes with the volume."""
    podman.create_volume(name, daemon.name, options)
    assert podman.volume_names() == [name]
    shown = podman.inspect(name)
    assert shown["Driver"] == daemon.name
    assert shown["Status"]["backend"] == options["backend"]
    assert daemon.data(name).exists()
    podman("volume", "rm", name)
    assert podman.volume_names() == []
    assert not daemon.data(name).parent.exists()


def test_missing_plugin(podman: Podman, daemon: Daemon, name: str) -> None:
    """11.79: a driver that is not configured, and one whose socket is absent, are told clearly."""
    daemon.stop()
    for driver, text in (
        ("unheard-of", "no volume plugin with name"),
        (daemon.name, "no such file"),
    ):
        with pytest.raises(PodmanError, match=f"{driver} .*{text}") as caught:
            podman.create_volume(name, driver)
        assert caught.value.status == 125
    daemon.start()
    assert podman.volume_names() == []


def test_removal_without_the_plugin(podman: Podman, daemon: Daemon, kept: str) -> None:
    """11.80: what Podman forgets while the daemon is down is found again by a reload."""
    podman.run("echo precious > /data/file", f"{kept}:/data")
    daemon.stop()
    with pytest.raises(PodmanError) as caught:
        podman("volume", "rm", kept)
    assert caught.value.status == 125
    daemon.start()
    assert podman.volume_names() == []
    podman("volume", "reload")
    assert podman.volume_names() == [kept]
    assert podman.run("cat /data/file", f"{kept}:/data") == "precious\n"


def test_sharing(podman: Podman, daemon: Daemon, kept: str) -> None:
    """11.81: two containers share a volume by one Mount and one Unmount, of Podman's one ID."""
    first = podman.background(f"{kept}:/data")
    assert daemon.holds(kept) == {PODMAN_ID: 1}
    second = podman.background(f"{kept}:/data")
    podman("exec", first, "sh", "-c", "echo helloworld > /data/file")
    assert podman("exec", second, "cat", "/data/file") == "helloworld\n"
    podman("rm", "--force", "--time", "0", first)
    assert daemon.is_mounted(kept)
    assert podman("exec", second, "cat", "/data/file") == "helloworld\n"
    podman("rm", "--force", "--time", "0", second)
    assert daemon.is_released(kept)
    calls = daemon.calls(kept)
    assert (calls.count("mount"), calls.count("unmount")) == (1, 1)


def test_container_that_dies(podman: Podman, daemon: Daemon, kept: str) -> None:
    """11.81: the volume of a container that ends by itself is unmounted, and mounts again."""
    container = podman.background(f"{kept}:/data", command="echo once >> /data/file")
    until(lambda: daemon.is_released(kept), "an unmount by Podman's cleanup")
    podman("start", "--attach", container)
    until(lambda: daemon.is_released(kept), "an unmount after the second start")
    assert podman.run("cat /data/file", f"{kept}:/data") == "once\nonce\n"


def test_copy_up(podman: Podman, kept: str) -> None:
    """11.34: an empty volume gets the image's files, but of Podman not their folder's owner."""
    said = podman.run(f"stat -c %u:%g {CONTENT}; ls -A {CONTENT}", f"{kept}:{CONTENT}")
    assert said == "0:0\ndeeper\nfirst\n"


def test_reload(podman: Podman, daemon: Daemon, name: str) -> None:
    """11.82: what was created and removed behind Podman's back is listed as added and removed."""
    gone, found = f"{name}-gone", f"{name}-found"
    podman.create_volume(gone, daemon.name)
    daemon.call("/VolumeDriver.Remove", {"Name": gone})
    daemon.create(found)
    sections = dict(re.findall(r"(\w+):\n((?:[^:\n]+\n)*)", podman("volume", "reload")))
    assert sections["Added"].split() == [found]
    assert sections["Removed"].split() == [gone]
    assert "Errors" not in sections
    assert podman.volume_names() == [found]


def test_timeout(podman: Podman, daemon: Daemon, name: str, options: dict[str, str]) -> None:
    """11.83: a create that took longer than Podman waits is taken up by the next one."""
    patient = {**options, "o": "timeout=1"}
    with daemon.suspended(), pytest.raises(PodmanError, match=r"Timeout|deadline") as caught:
        podman.create_volume(name, daemon.name, patient)
    assert caught.value.status == 125
    assert podman.volume_names() == []
    podman.create_volume(name, daemon.name, patient)
    assert podman.inspect(name)["Timeout"] == 1
    assert daemon.names() == [name]
    assert podman.run("echo fine", f"{name}:/data") == "fine\n"


def test_time_of_a_call(podman: Podman, daemon: Daemon, kept: str) -> None:
    """11.83: no call of a whole life takes longer than the 5 s that Podman waits by default."""
    podman.run("touch /data/file", f"{kept}:/data")
    podman("volume", "rm", kept)
    lines = [line for line in daemon.lines_of(kept) if line.get("api") == "docker"]
    assert {line["message"] for line in lines} >= {"get", "create", "mount", "unmount", "remove"}
    assert max(line["seconds"] for line in lines) < 5


@pytest.mark.parametrize(
    ("wrong", "text"),
    [({"size": "tiny"}, "option size: 'tiny'"), ({"colour": "red"}, "unknown option 'colour'")],
    ids=["value", "key"],
)
def test_failed_create(
    podman: Podman, daemon: Daemon, name: str, wrong: dict[str, str], text: str
) -> None:
    """11.84: a Create that fails is one to Podman as well, which tells why and keeps no volume."""
    with pytest.raises(PodmanError, match=text) as caught:
        podman.create_volume(name, daemon.name, wrong)
    assert caught.value.status == 125
    assert podman.volume_names() == []
    assert name not in daemon.names()


def test_failed_mount(podman: Podman, daemon: Daemon, kept: str) -> None:
    """11.84: a Mount that fails starts no container, least of all one without its volume."""
    data = daemon.data(kept)
    hidden = data.with_name("hidden")
    data.rename(hidden)
    try:
        with pytest.raises(PodmanError, match=f"volume {kept}: its (image|folder) .* missing"):
            podman.run("touch /data/astray", f"{kept}:/data")
    finally:
        hidden.rename(data)
    assert podman.run("ls -A /data", f"{kept}:/data") == ""


@pytest.mark.parametrize("first", ["docker", "podman"])
def test_beside_docker(
    podman: Podman, engine: Engine, daemon: Daemon, kept: str, first: str
) -> None:
    """11.85: a volume that Podman and Docker both use stays mounted until both are done."""
    ours = podman.background(f"{kept}:/data")
    theirs = engine.background(f"{kept}:/data")
    podman("exec", ours, "sh", "-c", "echo shared > /data/file")
    assert _read(theirs) == b"shared\n"
    assert len(daemon.holds(kept)) == 2
    if first == "docker":
        theirs.remove(force=True)
        assert podman("exec", ours, "cat", "/data/file") == "shared\n"
        assert daemon.holds(kept) == {PODMAN_ID: 1}
        podman.remove_containers()
    else:
        podman.remove_containers()
        assert _read(theirs) == b"shared\n"
        assert PODMAN_ID not in daemon.holds(kept)
        theirs.remove(force=True)
    until(lambda: daemon.is_released(kept), "an unmount after both")


def _read(container: Container) -> bytes:
    """The file in its volume; Docker may lose what a program says that ends at once."""
    read: bytes = until(lambda: prints(container, ["cat", "/data/file"]), "it is read")
    return read


def test_removal_beside_docker(podman: Podman, engine: Engine, daemon: Daemon, kept: str) -> None:
    """11.85: Podman, which knows nothing of Docker's container, is told of it by name."""
    container = engine.background(f"{kept}:/data")
    with pytest.raises(PodmanError, match=f"in use by container {container.id[:12]}"):
        podman("volume", "rm", kept)
    assert podman.volume_names() == [kept]
    assert daemon.data(kept).exists()


def test_reboot(podman: Podman, daemon: Daemon, kept: str) -> None:
    """11.86: after a reboot with a mounted volume nothing is counted, and it mounts again."""
    podman.background(f"{kept}:/data", command="echo kept > /data/file; exec sleep 1000000")
    until(lambda: podman.run("ls /data", f"{kept}:/data") == "file\n", "the file")
    daemon.kill()
    podman.forget_boot()
    host.unmount_below(daemon.run_dir)
    with _boot_id(str(uuid4())):
        daemon.start()
        status = podman.inspect(kept)["Status"]
        assert (status["state"], status["references"]) == ("ready", 0)
        assert podman.run("cat /data/file", f"{kept}:/data") == "kept\n"
        until(lambda: daemon.is_released(kept), "an unmount")
        daemon.stop()


def test_packed_options(podman: Podman, daemon: Daemon, name: str) -> None:
    """11.87: `-o o=uid=…,size=…`, which Podman sends in upper case once more, is understood."""
    podman.create_volume(name, daemon.name, {"o": "uid=7,gid=8,size=16M"})
    options = podman.inspect(name)["Status"]["options"]
    assert (options["uid"], options["gid"], options["size"]) == ("7", "8", "16MiB")
    assert podman.run("stat -c %u:%g /data", f"{name}:/data") == "7:8\n"


def test_prune(podman: Podman, daemon: Daemon, kept: str, name: str) -> None:
    """11.88: prune removes an unused volume with its data, and one that is in use stays."""
    used = f"{name}-used"
    podman.create_volume(used, daemon.name)
    podman.background(f"{used}:/data")
    podman("volume", "prune", "--force")
    assert podman.volume_names() == [used]
    assert daemon.names() == [used]
    assert not daemon.data(kept).parent.exists()
    assert daemon.calls(kept).count("remove") == 1


@contextmanager
def _boot_id(text: str) -> Iterator[None]:
    """Let processes that start now believe that the machine was booted anew."""
    file = Path(f"/dev/shm/convoy-boot-{os.getpid()}")
    file.write_text(f"{text}\n", encoding="ascii")
    subprocess.run(["mount", "--bind", file, BOOT_ID], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", BOOT_ID], check=True)
        file.unlink()
