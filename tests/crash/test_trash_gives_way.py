"""On real filesystems: the trash goes for what it frees, and only for that, and in time."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from tests.crash import verbs
from tests.crash.conftest import FLAGS
from tests.crash.disks import Disk
from tests.crash.volumes import CONTAINER
from tests.harness import Daemon, Refused
from tests.noise import noise

pytestmark = pytest.mark.root

_MIB = 1 << 20
_KEEPING = (*FLAGS, "--trash-keep=1d", "--janitor-interval=30")
_FILESYSTEMS = ("xfs", "btrfs", "ext4")

MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def make_daemon() -> Iterator[MakeDaemon]:
    """Starts a daemon whose root lies on a filesystem of so many MiB in memory."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="convoy-"))
    daemons: list[Daemon] = []

    def make(fs: str, mib: int, *flags: str) -> Daemon:
        daemon = Daemon(folder, *_KEEPING, *flags, root=folder / "host/root")
        daemons.append(daemon)
        Disk(folder, fs, mib)
        daemon.start()
        return daemon

    try:
        yield make
        for daemon in daemons:
            daemon.clean()
            daemon.let_go()
    finally:
        shutil.rmtree(folder)


def _write(daemon: Daemon, volume: str, mib: int, file: str = "file") -> None:
    """Have a container write random bytes into a volume, and wait until they are on the disk."""
    with (daemon.mount(volume, CONTAINER) / file).open("wb") as target:
        for _ in range(mib):
            target.write(noise(_MIB))
        target.flush()
        os.fsync(target.fileno())
    daemon.unmount(volume, CONTAINER)


def _removed(daemon: Daemon, volume: str, mib: int) -> None:
    daemon.create(volume, backend="directory")
    _write(daemon, volume, mib)
    daemon.remove(volume)


def _trash(daemon: Daemon) -> list[str]:
    return [each["Name"] for each in daemon.admin("GET", "/v1/trash")["Volumes"]]


def _report(daemon: Daemon) -> Any:
    return verbs.job(daemon, "GET", "/v1/df")


def _free(daemon: Daemon) -> int:
    free: int = daemon.admin("GET", "/v1/info")["Space"]["Free"]
    return free


def _reserve(daemon: Daemon, size: int) -> None:
    daemon.create("new", backend="loopback", fs="ext4", size=str(size), sparse="false")


def test_a_clone_that_does_not_fit_into_its_size_costs_nothing(make_daemon: MakeDaemon) -> None:
    """It is the quota that is full, not the host."""
    daemon = make_daemon("btrfs", 1024)
    for name in "abc":
        _removed(daemon, name, 20)
    daemon.create("src", backend="directory", size="100M")
    _write(daemon, "src", 20)
    with pytest.raises(Refused, match="more than"):
        verbs.job(daemon, "POST", "/v1/volumes/src/clone", Name="small", Options={"size": "5M"})
    assert _trash(daemon) == ["a", "b", "c"]


def test_a_full_image_costs_nothing(make_daemon: MakeDaemon) -> None:
    """What does not fit into the image that a conversion makes is not a matter of the host."""
    daemon = make_daemon("ext4", 1024)
    _removed(daemon, "a", 20)
    daemon.create("src", backend="directory")
    _write(daemon, "src", 40)
    with pytest.raises(Refused):
        verbs.convert(daemon, "src", backend="loopback", fs="ext4", size="20M")
    assert _trash(daemon) == ["a"]


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_what_a_living_volume_has_too_does_not_go(make_daemon: MakeDaemon, fs: str) -> None:
    """A removed clone shares its blocks with what it was cloned from: nothing is to be gained."""
    daemon = make_daemon(fs, 1024)
    daemon.create("prod", backend="loopback", fs="ext4", size="500M", sparse="true")
    _write(daemon, "prod", 300)
    verbs.clone(daemon, "prod", "staging")
    _write(daemon, "staging", 1, "another")
    daemon.remove("staging")
    with pytest.raises(Refused, match="cannot be reserved"):
        _reserve(daemon, _free(daemon) + 100 * _MIB)
    assert _trash(daemon) == ["staging"]
    assert _report(daemon)["Trash"] < 50 * _MIB
    daemon.remove("prod")
    assert 300 * _MIB <= _report(daemon)["Trash"] < 400 * _MIB
    _reserve(daemon, _free(daemon) + 100 * _MIB)
    assert _trash(daemon) == []


@pytest.mark.parametrize("fs", _FILESYSTEMS)
@pytest.mark.parametrize("backend", ["directory", "loopback"])
def test_no_more_goes_than_is_missing(make_daemon: MakeDaemon, fs: str, backend: str) -> None:
    """One of six, though the filesystem gives the blocks back later; df tells what they have."""
    daemon = make_daemon(fs, 1024)
    size = {"size": "60M", "fs": "ext4", "sparse": "true"} if backend == "loopback" else {}
    for name in "abcdef":
        daemon.create(name, backend=backend, **size)
        _write(daemon, name, 50)
        daemon.remove(name)
    assert 300 * _MIB <= _report(daemon)["Trash"] < 360 * _MIB
    _reserve(daemon, _free(daemon) + 25 * _MIB)
    assert _trash(daemon) == ["b", "c", "d", "e", "f"]


@pytest.mark.parametrize("fs", ["xfs", "btrfs"])
def test_shared_blocks_count_once(make_daemon: MakeDaemon, fs: str) -> None:
    """Of a volume, its snapshots and its clones, all of them in the trash."""
    daemon = make_daemon(fs, 1024)
    daemon.create("v", backend="directory")
    _write(daemon, "v", 100)
    verbs.snapshot(daemon, "v", "a")
    for number in range(3):
        verbs.clone(daemon, "v", f"clone{number}")
        daemon.remove(f"clone{number}")
    daemon.remove("v")
    assert 100 * _MIB <= _report(daemon)["Trash"] < 120 * _MIB
    before = _free(daemon)
    _reserve(daemon, before + 50 * _MIB)
    assert _trash(daemon) == []


def _paced(daemon: Daemon, file: FileIO, mib: int) -> None:
    """Write as a busy database does, 60 MiB a second, and sync.

    Never faster, to make up for time that was lost; and a machine that is too busy to let the
    daemon answer does not let a database write, either.
    """
    for number in range(mib):
        began = time.monotonic()
        file.write(noise(_MIB))
        if number % 15 == 0:
            daemon.listed()
        time.sleep(max(0.0, began + 1 / 60 - time.monotonic()))
    os.fsync(file.fileno())


@pytest.mark.parametrize("fs", _FILESYSTEMS)
def test_a_living_volume_never_runs_out_of_space(make_daemon: MakeDaemon, fs: str) -> None:
    """At 60 MB a second it gets what the trash has, before it needs it."""
    daemon = make_daemon(fs, 1024, "--reserve=64M")
    for name in "abcdefgh":
        _removed(daemon, name, 80)
    daemon.create("live", backend="directory")
    mib = _free(daemon) // _MIB + 200  # of the 640 that the trash has
    with (daemon.mount("live", CONTAINER) / "file").open("wb", buffering=0) as file:
        _paced(daemon, file, mib)
    daemon.unmount("live", CONTAINER)
    assert len(_trash(daemon)) < 8


@pytest.mark.parametrize(("fs", "inside"), [("xfs", "xfs"), ("btrfs", "xfs"), ("ext4", "btrfs")])
def test_a_living_image_never_runs_out_of_space(
    make_daemon: MakeDaemon, fs: str, inside: str
) -> None:
    """What is written into it stays in memory for half a minute, and goes to the host at once."""
    daemon = make_daemon(fs, 1024, "--reserve=64M")
    for name in "abcdefgh":
        _removed(daemon, name, 70)
    daemon.create("live", backend="loopback", fs=inside, size="1G", sparse="true")
    mib = _free(daemon) // _MIB + 100  # of the 560 that the trash has
    with (daemon.mount("live", CONTAINER) / "file").open("wb", buffering=0) as file:
        _paced(daemon, file, mib)
    daemon.unmount("live", CONTAINER)
    assert len(_trash(daemon)) < 8


def test_a_living_image_with_a_snapshot_never_runs_out_of_space(make_daemon: MakeDaemon) -> None:
    """What is written over blocks that the snapshot has too takes new ones, when it is written."""
    daemon = make_daemon("xfs", 1536, "--reserve=64M")
    daemon.create("live", backend="loopback", fs="ext4", size="600M", sparse="true")
    file = daemon.mount("live", CONTAINER) / "file"
    file.write_bytes(noise(450 * _MIB))
    verbs.snapshot(daemon, "live", "s")
    for name in "abcdefghij":
        _removed(daemon, name, 80)
    with file.open("r+b", buffering=0) as written:
        _paced(daemon, written, 450)
    daemon.unmount("live", CONTAINER)
    assert len(_trash(daemon)) < 10
