"""The root's disk goes away under the daemon, or comes after it: nothing is written beside it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.crash import verbs
from tests.crash.conftest import FLAGS
from tests.crash.contents import read_canary
from tests.crash.disks import Disk
from tests.crash.volumes import CONTAINER, CONTENT, KINDS, Stage, bring
from tests.harness import Daemon, Refused, eventually, request

pytestmark = pytest.mark.root

_AWAY = "is not the folder any more that this daemon has locked"


@pytest.fixture(params=["ext4", "btrfs"])
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    """A disk of memory, mounted."""
    with TemporaryDirectory(prefix="convoy-away-", dir="/dev/shm") as name:
        yield Disk(Path(name), request.param, 256)


@pytest.fixture(params=[".", "convoy/root"])
def daemon(disk: Disk, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A daemon whose root is that disk, or a folder on it; it is not started yet."""
    root = disk.at / request.param
    daemon = Daemon(disk.at.parent, *FLAGS, "--usage-interval=1", root=root)
    yield daemon
    daemon.clean()
    daemon.let_go()


def _detach(disk: Disk) -> None:
    subprocess.run(["umount", "-l", disk.at], check=True)


def _healthy(daemon: Daemon) -> bool:
    return request(daemon.admin_socket, "GET", "/healthz").status == 200


def _status(daemon: Daemon, name: str) -> tuple[str, str]:
    status = daemon.get(name)["Status"]
    return status["state"], status.get("reason", "")


def test_without_its_disk_nothing_is_written_and_all_stays_listed(
    daemon: Daemon, disk: Disk
) -> None:
    daemon.start()
    bring(daemon, "idle", KINDS["directory"], Stage.READY)
    bring(daemon, "image", KINDS["ext4"], Stage.READY)
    bring(daemon, "used", KINDS["directory"], Stage.MOUNTED)
    _detach(disk)
    changes: list[Callable[[], object]] = [
        lambda: daemon.create("new", **KINDS["directory"]),
        lambda: daemon.create("new", **KINDS["ext4"]),
        lambda: daemon.mount("idle", CONTAINER),
        lambda: daemon.mount("image", CONTAINER),
        lambda: daemon.remove("idle"),
        lambda: daemon.forget("idle"),
        lambda: verbs.clone(daemon, "idle", "new"),
        lambda: verbs.snapshot(daemon, "image", "s"),
        lambda: verbs.rename(daemon, "idle", "new"),
        lambda: verbs.protect(daemon, "idle"),
        lambda: verbs.resize(daemon, "image", "32M"),
        lambda: daemon.adopt("new"),
    ]
    for change in changes:
        with pytest.raises(Refused, match=_AWAY):
            change()
    # What is mounted is used on, by more containers too, and an Unmount never fails.
    assert read_canary(daemon.mount("used", "d" * 64)) == CONTENT
    daemon.unmount("used", "d" * 64)
    eventually(lambda: not _healthy(daemon), "it is not healthy")
    assert _AWAY in daemon.admin("GET", "/v1/info")["General"]["Health"]
    assert set(daemon.listed()) == {"idle", "image", "used"}
    for name, state in (("idle", "broken"), ("image", "broken"), ("used", "mounted")):
        assert _status(daemon, name)[0] == state
        assert _AWAY in _status(daemon, name)[1]
    assert list(disk.at.iterdir()) == []
    disk.mount()
    eventually(lambda: _healthy(daemon), "it goes on by itself")
    assert [_status(daemon, name) for name in ("idle", "image")] == [("ready", "")] * 2
    for name in ("idle", "image", "used"):
        assert read_canary(daemon.mount(name, CONTAINER)) == CONTENT
        while daemon.listed()[name]:
            daemon.unmount(name, CONTAINER)
        daemon.remove(name)
    assert daemon.listed() == {}


def test_what_was_changed_while_the_disk_was_elsewhere_is_seen(daemon: Daemon, disk: Disk) -> None:
    daemon.start()
    for name in ("a", "b"):
        bring(daemon, name, KINDS["directory"], Stage.READY)
    home = daemon.root / "volumes/a"
    subprocess.run(["cp", "-a", home, home.with_name("kept")], check=True)
    _detach(disk)
    eventually(lambda: not _healthy(daemon), "it is not healthy")
    disk.mount()
    (daemon.root / "volumes/b").rename(disk.at / "b")
    eventually(lambda: _healthy(daemon), "it goes on by itself")
    eventually(lambda: set(daemon.listed()) == {"a", "kept"}, "its records were read again")


def test_a_disk_that_comes_late_is_taken_as_at_a_start(daemon: Daemon, disk: Disk) -> None:
    """Without a restart; what was made beneath it meanwhile is told and not mistaken for lost."""
    daemon.start()
    bring(daemon, "db", KINDS["ext4"], Stage.READY)
    bring(daemon, "files", KINDS["directory"], Stage.READY)
    verbs.protect(daemon, "db")
    assert daemon.stop() == 0
    disk.unmount()
    daemon.start()
    assert daemon.listed() == {}
    daemon.create("meanwhile", **KINDS["directory"])
    disk.mount()
    eventually(lambda: "db" in daemon.listed(), "its volumes are there")
    for name in ("db", "files"):
        assert read_canary(daemon.mount(name, CONTAINER)) == CONTENT
        daemon.unmount(name, CONTAINER)
    with pytest.raises(Refused, match="is protected"):
        daemon.remove("db")
    assert _healthy(daemon)
    state, reason = _status(daemon, "meanwhile")
    assert state == "broken"
    assert "beneath what was mounted over" in reason
    with pytest.raises(Refused, match="beneath what was mounted over"):
        daemon.mount("meanwhile", CONTAINER)
    assert "listed as broken: meanwhile" in daemon.log.read_text()
    # The root is locked again: another daemon is told so.
    rival = Daemon(disk.at.parent / "rival", root=daemon.root)
    rival.folder.mkdir()
    with pytest.raises(AssertionError, match="another daemon uses"):
        rival.start()
    rival.process = None


def test_the_bare_folder_beneath_is_not_taken_for_the_root(daemon: Daemon, disk: Disk) -> None:
    """A daemon that had started without the disk left its folders there."""
    disk.unmount()
    daemon.start()
    assert daemon.stop() == 0
    disk.mount()
    daemon.start()
    bring(daemon, "db", KINDS["directory"], Stage.READY)
    _detach(disk)
    eventually(lambda: not _healthy(daemon), "it is not healthy")
    with pytest.raises(Refused, match=_AWAY):
        daemon.create("new", **KINDS["directory"])
    assert daemon.listed() == {"db": ""}
    assert list((daemon.root / "volumes").iterdir()) == []
    disk.mount()
    eventually(lambda: _healthy(daemon), "it goes on by itself")
    assert read_canary(daemon.mount("db", CONTAINER)) == CONTENT


def test_adopting_a_whole_volume_keeps_all_that_was_recorded(daemon: Daemon, disk: Disk) -> None:
    """A folder that was put in its place by hand; no advice is to delete it."""
    daemon.start()
    bring(daemon, "db", KINDS["ext4"], Stage.READY)
    verbs.snapshot(daemon, "db", "s")
    verbs.protect(daemon, "db")
    before = daemon.admin("GET", "/v1/volumes/db")
    elsewhere = disk.at / "elsewhere"
    (daemon.root / "volumes/db").rename(elsewhere)
    daemon.kill()
    daemon.start()
    assert daemon.listed() == {}
    elsewhere.rename(daemon.root / "volumes/db")
    with pytest.raises(Refused, match="--adopt db`, which keeps all of it") as refused:
        daemon.create("db", **KINDS["ext4"])
    assert "delete" not in str(refused.value)
    daemon.adopt("db")
    after = daemon.admin("GET", "/v1/volumes/db")
    assert after["Snapshots"] == before["Snapshots"]
    assert after["CreatedTime"] == before["CreatedTime"]
    assert after["Status"]["options"] == before["Status"]["options"]
    assert after["Status"]["protected"] is True
    assert read_canary(daemon.mount("db@s", CONTAINER)) == CONTENT


def test_a_root_without_a_folder_at_its_path_fails_nothing_inside(daemon: Daemon) -> None:
    """What looks at it in the background, or for a report, meets no fault of its own."""
    if daemon.root == daemon.folder / "host":
        daemon.root = daemon.root / "root"
    daemon.start()
    bring(daemon, "db", KINDS["directory"], Stage.READY)
    daemon.root.rename(daemon.root.with_name("elsewhere"))
    eventually(lambda: not _healthy(daemon), "it is not healthy")
    assert [each["Name"] for each in verbs.job(daemon, "GET", "/v1/df")["Volumes"]] == ["db"]
    daemon.root.with_name("elsewhere").rename(daemon.root)
    eventually(lambda: _healthy(daemon), "it goes on by itself")
    assert "Traceback" not in daemon.log.read_text()


def test_something_mounted_on_its_volumes_is_not_written_to(daemon: Daemon, disk: Disk) -> None:
    daemon.start()
    bring(daemon, "db", KINDS["directory"], Stage.READY)
    other = disk.at.parent / "other"
    other.mkdir()
    volumes = daemon.root / "volumes"
    subprocess.run(["mount", "--bind", other, volumes], check=True)
    with pytest.raises(Refused, match=_AWAY):
        daemon.create("new", **KINDS["directory"])
    eventually(lambda: not _healthy(daemon), "it is not healthy")
    assert daemon.listed() == {"db": ""}
    subprocess.run(["umount", volumes], check=True)
    eventually(lambda: _healthy(daemon), "it goes on by itself")
    assert read_canary(daemon.mount("db", CONTAINER)) == CONTENT
    assert list(other.iterdir()) == []
