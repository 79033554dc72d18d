"""A host disk with no byte, metadata, inode or quota left: what serves or gives back goes on.

Whatever fills the disk, the daemon starts, everything mounts and is let go of, is removed,
protected and renamed, and goes back to a snapshot where that takes no copy.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from convoy_py.linux import filesystems
from tests.crash import verbs
from tests.crash.conftest import FLAGS
from tests.crash.contents import read_canary, write_canary
from tests.crash.disks import Disk, settled
from tests.crash.volumes import CONTAINER, CONTENT, KINDS, Stage, bring
from tests.harness import Daemon, Refused

pytestmark = pytest.mark.root

_MIB = 1 << 20
_DISKS = {
    "ext4": (200, ("-N", "400")),
    "xfs": (320, ()),
    "btrfs": (256, ("-m", "single")),
}
_VOLUMES = {"directory": "directory", "ext4": "ext4", "reserved": "ext4-reserved"}


def _fill_blocks(host: Path) -> None:
    """Take every block, the last ones one by one, also those of what is very small."""
    with suppress(OSError), (host / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(_MIB))
    subprocess.run(["sync", "-f", host], check=True)
    for size in (4096, 10):
        with suppress(OSError):
            for number in count():
                (host / f"rest{size}-{number}").write_bytes(bytes(size))


def _fill_inodes(host: Path) -> None:
    with suppress(OSError):
        for number in count():
            (host / f"filler{number}").touch()


def _fill_metadata(host: Path) -> None:
    """Take what btrfs has for names, after what it has for data."""
    _fill_blocks(host)
    size, number = 2000, 0
    while size:
        try:
            (host / f"link{number}").symlink_to("x" * size)
            number += 1
        except OSError:
            size //= 2
            subprocess.run(["sync", "-f", host], check=True)


def _fill_quota(host: Path) -> None:
    used = str(filesystems.space(host).used)
    for command in (("quota", "enable"), ("quota", "rescan", "-w"), ("qgroup", "limit", used)):
        subprocess.run(["btrfs", *command, host], check=True, stdout=subprocess.DEVNULL)
    _fill_blocks(host)
    with pytest.raises(OSError, match="quota"):
        (host / "another").write_bytes(bytes(4096))


_FULL = [
    ("ext4", _fill_blocks),
    ("ext4", _fill_inodes),
    ("xfs", _fill_blocks),
    ("btrfs", _fill_blocks),
    ("btrfs", _fill_metadata),
    ("btrfs", _fill_quota),
]


@contextmanager
def _daemon_on(fs: str, *flags: str) -> Iterator[Daemon]:
    """A daemon with all that is its own on a small disk of memory; it is not started yet."""
    with TemporaryDirectory(prefix="convoy-full-", dir="/dev/shm") as name:
        folder = Path(name)
        mib, options = _DISKS[fs]
        host = Disk(folder, fs, mib, *options).at
        daemon = Daemon(folder, *FLAGS, *flags, root=host / "root")
        daemon.run_dir = host / "run"
        try:
            yield daemon
        finally:
            daemon.clean()
            daemon.let_go()


def _prepare(daemon: Daemon, volumes: dict[str, str], fill: Callable[[Path], None]) -> None:
    """Volumes of these kinds, with data, and with a snapshot of what was there before."""
    daemon.start()
    for name, kind in volumes.items():
        bring(daemon, name, KINDS[kind], Stage.READY)
        verbs.snapshot(daemon, name, "s")
        write_canary(daemon.mount(name, CONTAINER), b"later\n")
        daemon.unmount(name, CONTAINER)
    settled(daemon)
    fill(daemon.root.parent)


@pytest.mark.parametrize("keep", ["0", "24h"])
@pytest.mark.parametrize(("fs", "fill"), _FULL)
def test_on_a_full_disk_all_that_serves_or_gives_back_goes_on(
    fs: str, fill: Callable[[Path], None], keep: str
) -> None:
    with _daemon_on(fs, f"--trash-keep={keep}") as daemon:
        _prepare(daemon, _VOLUMES, fill)
        for name in _VOLUMES:
            assert read_canary(daemon.mount(name, CONTAINER)) == b"later\n"
        daemon.kill()
        daemon.start()
        for name in _VOLUMES:
            assert read_canary(daemon.mount(name, "d" * 64)) == b"later\n"
            daemon.unmount(name, CONTAINER)
            daemon.unmount(name, "d" * 64)
        assert set(daemon.listed().values()) == {""}
        assert daemon.stop() == 0
        daemon.start()
        verbs.protect(daemon, "directory")
        with pytest.raises(Refused, match="is protected"):
            daemon.remove("directory")
        verbs.protect(daemon, "directory", on=False)
        verbs.rename(daemon, "ext4", "renamed")
        daemon.forget("directory")
        daemon.adopt("directory")
        verbs.delete_snapshot(daemon, "reserved@s")
        for name in ("directory", "renamed", "reserved"):
            daemon.remove(name)
        assert daemon.listed() == {}
        if keep != "0":
            daemon.kill()
            daemon.start()
            verbs.restore(daemon, "renamed")
            assert read_canary(daemon.mount("renamed", CONTAINER)) == b"later\n"
            found = daemon.admin("GET", "/v1/trash")["Volumes"]
            assert [each["Removed"] is not None for each in found] == [True, True]
            daemon.admin("POST", "/v1/trash/purge", {"All": True})


@pytest.mark.parametrize(
    ("fs", "fill", "name"),
    [
        ("xfs", _fill_blocks, "ext4"),
        ("btrfs", _fill_blocks, "ext4"),
        ("btrfs", _fill_blocks, "directory"),
    ],
)
def test_on_a_full_disk_a_rollback_that_takes_no_copy_succeeds(
    fs: str, fill: Callable[[Path], None], name: str
) -> None:
    """Also right after a start, when nothing has been tried on this filesystem yet."""
    with _daemon_on(fs) as daemon:
        _prepare(daemon, {name: name}, fill)
        daemon.kill()
        daemon.start()
        verbs.rollback(daemon, name, "s")
        assert read_canary(daemon.mount(name, CONTAINER)) == CONTENT


def test_on_a_full_disk_a_rollback_that_takes_a_copy_changes_nothing() -> None:
    with _daemon_on("ext4") as daemon:
        _prepare(daemon, {"ext4": "ext4"}, _fill_blocks)
        with pytest.raises(Refused, match=r"No space left|free"):
            verbs.rollback(daemon, "ext4", "s")
        assert read_canary(daemon.mount("ext4", CONTAINER)) == b"later\n"
        assert list(daemon.admin("GET", "/v1/volumes/ext4")["Snapshots"]) == ["s"]


def test_what_was_given_up_comes_again_when_there_is_room() -> None:
    with _daemon_on("ext4") as daemon:
        _prepare(daemon, {"v": "directory"}, _fill_blocks)
        verbs.protect(daemon, "v")
        assert len(list((daemon.root / "ballast").glob("*"))) < 8
        for filler in daemon.root.parent.glob("*[0-9]"):
            filler.unlink()
        os.truncate(daemon.root.parent / "filler", 0)
        settled(daemon)
