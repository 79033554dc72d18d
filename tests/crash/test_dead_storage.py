"""Storage that hangs or is dead: what has nothing to do with it is served as if nothing were."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from convoy_py.linux import mounts
from tests import fuse
from tests.crash.conftest import FLAGS
from tests.crash.contents import read_canary
from tests.crash.verbs import clone, job, resize, snapshot
from tests.crash.volumes import CONTAINER, CONTENT, KINDS, Stage, bring
from tests.fuse import Fuse
from tests.harness import Daemon, Refused, eventually

pytestmark = pytest.mark.root


@pytest.fixture
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuse]:
    """Below no folder of the daemon's."""
    storage = Fuse(tmp_path_factory.mktemp("elsewhere"))
    yield storage
    storage.close()


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuse]:
    """Another one, which is well."""
    other = Fuse(tmp_path_factory.mktemp("other"))
    yield other
    other.close()


@pytest.fixture
def foreign(storage: Fuse) -> Iterator[Path]:
    """A loop device whose file lies there."""
    device = fuse.attached(storage.at / "disk.img", 16 << 20)
    yield device
    fuse.detach(device)


@pytest.mark.parametrize("how", ["hangs", "is dead"])
def test_loop_device_of_others_is_no_obstacle(
    daemon: Daemon, storage: Fuse, foreign: Path, how: str
) -> None:
    """Every verb is served, and a daemon that is started meanwhile takes over what is mounted."""
    daemon.start()
    bring(daemon, "used", KINDS["ext4"], Stage.MOUNTED)
    if how == "is dead":
        storage.kill()
        _serves(daemon)
        return
    with storage.silent():
        _serves(daemon)


def test_filesystem_of_others_on_it_is_no_obstacle(
    daemon: Daemon, storage: Fuse, foreign: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Though the tools of the filesystems ask each loop device that is mounted."""
    subprocess.run(["mkfs.ext4", "-q", foreign], check=True)
    at = tmp_path_factory.mktemp("mounted")
    subprocess.run(["mount", foreign, at], check=True)
    try:
        daemon.start()
        daemon.create("grows", **KINDS["ext4"])
        daemon.create("data", **KINDS["btrfs"])
        with storage.silent():
            for kind in ("ext4", "xfs", "btrfs"):
                daemon.create(kind, **KINDS[kind])
            resize(daemon, "grows", "20M")
            clone(daemon, "data", "copy")
            assert mounts.is_mountpoint(at)
    finally:
        subprocess.run(["umount", at], check=True)


def _serves(daemon: Daemon) -> None:
    daemon.unmount("used", CONTAINER)
    assert read_canary(daemon.mount("used", CONTAINER)) == CONTENT
    snapshot(daemon, "used", "a")
    clone(daemon, "used", "copy", "a")
    assert read_canary(daemon.mount("copy", CONTAINER)) == CONTENT
    daemon.unmount("copy", CONTAINER)
    daemon.remove("copy")
    daemon.kill()
    daemon.start()
    assert daemon.listed() == {"used": str(daemon.run_dir / "mounts/used/data")}
    for kind in ("directory", "ext4"):
        daemon.create(kind, **KINDS[kind])
        daemon.mount(kind, CONTAINER)
        daemon.unmount(kind, CONTAINER)
        daemon.remove(kind)
    daemon.unmount("used", CONTAINER)
    daemon.let_go()


def test_folders_on_storage_that_hangs_hold_up_nobody_else(
    tmp_path: Path, storage: Fuse, other: Fuse
) -> None:
    """Many verbs wait there; volumes of the root, and of another storage, are served at once."""
    daemon = _allowing(tmp_path, storage, other)
    try:
        daemon.start()
        daemon.create("stuck", path=str(storage.at / "stuck"))
        daemon.mount("stuck", CONTAINER)
        daemon.create("near", path=str(other.at / "near"))
        daemon.create("dir", **KINDS["directory"])
        daemon.create("ext4", **KINDS["ext4"])
        with ThreadPoolExecutor(90) as pool, storage.silent():
            waiting = [
                pool.submit(daemon.create, f"v{number}", path=str(storage.at / f"v{number}"))
                for number in range(80)
            ]
            # An engine repeats what it has asked for before.
            waiting.append(pool.submit(daemon.create, "stuck", path=str(storage.at / "stuck")))
            eventually(lambda: _threads(daemon) > 4, "they are at work")
            _served(daemon)
            report = {each["Name"]: each for each in job(daemon, "GET", "/v1/df")["Volumes"]}
            assert report["stuck"]["Note"] == "no answer"
            assert report["near"]["Note"] == report["ext4"]["Note"] == ""
            assert report["near"]["Allocated"] is not None
            # The next one knows.
            assert job(daemon, "GET", "/v1/df")["Volumes"]
            assert daemon.listed()["stuck"]
            assert _threads(daemon) < 30
        for each in waiting:
            each.result()
        daemon.unmount("stuck", CONTAINER)
    finally:
        daemon.clean()


def test_daemon_that_starts_while_a_folder_s_storage_hangs_serves(
    tmp_path: Path, storage: Fuse, other: Fuse
) -> None:
    """At once, with that volume's references; whatever is asked of the rest is done."""
    daemon = _allowing(tmp_path, storage, other)
    try:
        daemon.start()
        daemon.create("stuck", path=str(storage.at / "stuck"))
        mountpoint = daemon.mount("stuck", CONTAINER)
        # What nobody knows may be mounted there, too.
        stranger = daemon.run_dir / "mounts/stranger"
        stranger.mkdir()
        mounts.bind(storage.at, stranger, ())
        with storage.silent():
            daemon.kill()
            daemon.start()
            assert daemon.listed() == {"stuck": str(mountpoint)}
            assert daemon.get("stuck")["Status"]["references"] == 1
            _served(daemon, create=True)
        daemon.unmount("stuck", CONTAINER)
        assert daemon.listed()["stuck"] == ""
    finally:
        daemon.clean()


def test_a_folder_whose_storage_is_dead_is_let_go_of(tmp_path: Path, storage: Fuse) -> None:
    """What is mounted stays listed so until it is unmounted, which needs no answer."""
    daemon = _allowing(tmp_path, storage)
    daemon.flags = (*daemon.flags, "--log-level=debug")
    try:
        daemon.start()
        for name in ("kept", "gone"):
            daemon.create(name, path=str(storage.at / name))
            daemon.mount(name, CONTAINER)
        storage.kill()
        told = daemon.log.stat().st_size
        eventually(lambda: "not measured" in daemon.log.read_text()[told:], "it was looked at")
        assert all(daemon.listed().values())
        for name in ("kept", "gone"):
            daemon.unmount(name, CONTAINER)
        assert daemon.listed() == {"kept": "", "gone": ""}
        assert not daemon.left()
        daemon.remove("gone")
        storage.again()
        assert list(daemon.mount("kept", CONTAINER).iterdir()) == []
    finally:
        daemon.clean()


def test_a_folder_is_mounted_anew_when_its_storage_is_back(tmp_path: Path, storage: Fuse) -> None:
    """Also while a container that began before still has the dead one."""
    daemon = _allowing(tmp_path, storage)
    try:
        daemon.start()
        daemon.create("data", path=str(storage.at / "data"))
        daemon.mount("data", CONTAINER)
        (storage.behind / "data/canary").write_bytes(CONTENT)
        storage.again()
        mountpoint = daemon.mount("data", "d" * 64)
        assert (mountpoint / "canary").read_bytes() == CONTENT
        for container in (CONTAINER, "d" * 64):
            daemon.unmount("data", container)
        assert not daemon.left()
    finally:
        daemon.clean()


def test_a_folder_whose_storage_hangs_is_unmounted_at_once(tmp_path: Path, storage: Fuse) -> None:
    daemon = _allowing(tmp_path, storage)
    try:
        daemon.start()
        daemon.create("stuck", path=str(storage.at / "stuck"))
        daemon.mount("stuck", CONTAINER)
        with storage.silent():
            daemon.unmount("stuck", CONTAINER)
            assert daemon.listed() == {"stuck": ""}
            assert not daemon.left()
            daemon.remove("stuck")
    finally:
        daemon.clean()


def test_a_repository_whose_storage_hangs_is_given_up(tmp_path: Path, storage: Fuse) -> None:
    """Within the time that is set; other volumes and repositories are served meanwhile.

    When it is back the next one works, and finds no lock in its way.
    """
    flags = [each for each in FLAGS if not each.startswith("--janitor")]
    daemon = Daemon(tmp_path, *flags, "--repository-patience=5")
    password = tmp_path / "password"
    password.write_text("a password")
    try:
        daemon.start()
        for name, folder in (("stuck", storage.at), ("well", tmp_path)):
            named = {
                "Name": name,
                "Location": f"{folder}/repository",
                "PasswordFile": str(password),
            }
            job(daemon, "POST", "/v1/repositories", **named)
        bring(daemon, "v", KINDS["directory"], Stage.READY)
        job(daemon, "POST", "/v1/backups", Sources=["v"], Repository="stuck")
        with ThreadPoolExecutor(10) as pool, storage.silent():
            asked = {"Sources": ["v"], "Repository": "stuck"}
            waiting = [pool.submit(job, daemon, "POST", "/v1/backups", **asked)]
            waiting += [
                pool.submit(job, daemon, "POST", "/v1/backups/verify", Repository="stuck")
                for _ in range(3)
            ]
            _served(daemon, create=True)
            job(daemon, "POST", "/v1/backups", Sources=["dir"], Repository="well")
            for each in waiting:
                with pytest.raises(Refused, match=r"has not answered for 5 s"):
                    each.result()
        job(daemon, "POST", "/v1/backups", Sources=["v"], Repository="stuck")
        assert list((storage.behind / "repository/locks").iterdir()) == []
    finally:
        daemon.clean()


def _allowing(folder: Path, *storages: Fuse) -> Daemon:
    allowed = ",".join(str(storage.at) for storage in storages)
    return Daemon(folder, *FLAGS, f"--allowed-paths={allowed}", "--usage-interval=1")


def _served(daemon: Daemon, *, create: bool = False) -> None:
    for name, options in (("dir", KINDS["directory"]), ("ext4", KINDS["ext4"])):
        if create:
            daemon.create(name, **options)
        daemon.mount(name, CONTAINER)
        daemon.unmount(name, CONTAINER)
    if not create:
        daemon.mount("near", CONTAINER)
        daemon.unmount("near", CONTAINER)


def _threads(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/task").iterdir()))
