"""Daemons of several hosts on one root, with real images and mounts; here they share a machine."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from convoy_py.linux import files, mounts
from tests import shared_roots
from tests.crash.verbs import job, snapshot
from tests.harness import Daemon, Refused, eventually, is_open

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
# Nobody mounts these volumes into containers, so every reference would be taken for a leak.
FLAGS = (
    *("--reserve=0", "--overcommit=1000", "--janitor-interval=0.1", "--reference-grace=1e9"),
    "--trash-keep=24h",
)
IMAGE = {"backend": "loopback", "size": "16M"}
FOLDER = {"backend": "directory"}


def host(tmp_path: Path, name: str, root: Path | None = None) -> Daemon:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    flags = (*FLAGS, "--shared", f"--host={name}")
    return Daemon(folder, *flags, root=(root or tmp_path) / "root")


@contextmanager
def local(folder: Path) -> Iterator[tuple[Path, Path]]:
    """One folder of this machine."""
    folder.mkdir()
    yield folder, folder


# On what the two hosts share; by name, for tests that are for more than a folder of this machine.
ENGINES = {"local": local, "juicefs": shared_roots.juicefs}
on_each_engine = pytest.mark.parametrize("hosts", ENGINES, indirect=True)


@pytest.fixture
def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Daemon, Daemon]]:
    """Two, each with a client of its own of the filesystem that they share."""
    engine = ENGINES[getattr(request, "param", "local")]
    with engine(tmp_path / "engine") as (one, other):
        a, b = host(tmp_path, "node-a", one), host(tmp_path, "node-b", other)
        yield from started(a, b)


def started(a: Daemon, b: Daemon) -> Iterator[tuple[Daemon, Daemon]]:
    try:
        for each in (a, b):
            each.start()
        yield a, b
    finally:
        for each in (a, b):
            each.clean()
            each.let_go()


def lists(daemon: Daemon, *names: str) -> None:
    eventually(lambda: sorted(daemon.listed()) == sorted(names), f"{names} are listed")


def told(daemon: Daemon) -> dict[str, Any]:
    """What a daemon tells of the hosts, by name."""
    return {each["Name"]: each for each in daemon.admin("GET", "/v1/hosts")["Hosts"]}


def used_by(daemon: Daemon, volume: str, *names: str) -> None:
    def found() -> bool:
        return bool(daemon.get(volume)["Status"].get("hosts", []) == list(names))

    eventually(found, f"{volume} is used by {names}")


@on_each_engine
def test_an_image_goes_from_host_to_host_with_its_data(hosts: tuple[Daemon, Daemon]) -> None:
    a, b = hosts
    a.create("db", **IMAGE)
    lists(b, "db")
    for turn in range(3):
        for here, there in ((a, b), (b, a)):
            folder = here.mount("db", "m")
            before = sorted(path.name for path in folder.iterdir())
            (folder / f"{turn}-{here.folder.name}").touch()
            used_by(there, "db", here.folder.name)
            with pytest.raises(Refused, match=f"volume db is held by {here.folder.name} "):
                there.mount("db", "m")
            with pytest.raises(Refused, match="held by"):
                there.remove("db")
            here.unmount("db", "m")
            assert len(before) == 2 * turn + (here is b)
    assert a.call("VolumeDriver.Capabilities")["Capabilities"] == {"Scope": "global"}


def test_what_is_mounted_outlives_the_daemon_and_stays_its_hosts(
    hosts: tuple[Daemon, Daemon],
) -> None:
    a, b = hosts
    a.create("db", **IMAGE)
    a.create("log", **IMAGE)
    lists(b, "db", "log")
    folder = a.mount("db", "m")
    a.kill()
    with pytest.raises(Refused, match="held by node-a"):
        b.mount("db", "m")
    b.mount("log", "m")
    a.start()
    assert a.listed() == {"db": str(folder), "log": ""}
    with pytest.raises(Refused, match="held by node-a"):
        b.mount("db", "m")
    a.unmount("db", "m")
    b.mount("db", "m")


def test_a_directory_is_used_by_both_hosts(hosts: tuple[Daemon, Daemon]) -> None:
    a, b = hosts
    a.create("etc", **FOLDER)
    lists(b, "etc")
    (a.mount("etc", "m") / "file").write_text("from a")
    assert (b.mount("etc", "m") / "file").read_text() == "from a"
    used_by(a, "etc", "node-a", "node-b")
    a.unmount("etc", "m")
    with pytest.raises(Refused, match="held by node-b"):
        a.remove("etc")
    b.unmount("etc", "m")
    a.remove("etc")
    lists(b)


def test_snapshots_and_the_trash_are_everybodys(hosts: tuple[Daemon, Daemon]) -> None:
    a, b = hosts
    a.create("db", **IMAGE)
    (a.mount("db", "m") / "file").write_text("precious")
    snapshot(a, "db", "nightly")
    a.unmount("db", "m")

    def seen() -> list[str]:
        return [each["FullName"] for each in b.admin("GET", "/v1/snapshots")["Snapshots"]]

    eventually(lambda: seen() == ["db@nightly"], "the snapshot is seen")
    assert (b.mount("db@nightly", "m") / "file").read_text() == "precious"
    b.unmount("db@nightly", "m")
    a.remove("db")
    lists(b)
    eventually(lambda: b.admin("GET", "/v1/trash")["Volumes"], "what was removed is seen")
    b.admin("POST", "/v1/trash/restore", {"Name": "db", "AsName": "again"})
    lists(a, "again")
    assert (a.mount("again", "m") / "file").read_text() == "precious"


def test_the_hosts_are_told(hosts: tuple[Daemon, Daemon]) -> None:
    a, b = hosts
    a.create("db", **IMAGE)
    a.mount("db", "m")
    eventually(lambda: told(b).get("node-a", {}).get("Volumes") == ["db"], "who has db is told")
    eventually(lambda: "node-b" in told(a), "node-b is seen")
    found = told(b)
    assert [found[name]["State"] for name in ("node-a", "node-b")] == ["alive", "alive"]
    assert [name for name, each in found.items() if each["Here"]] == ["node-b"]
    b.stop()
    eventually(lambda: told(a)["node-b"]["State"] == "left", "that node-b left is seen")


def test_a_host_that_comes_back_is_the_same_one(hosts: tuple[Daemon, Daemon]) -> None:
    a, _ = hosts
    before = told(a)["node-a"]
    a.stop()
    a.start()
    after = told(a)["node-a"]
    assert (after["Number"], after["Incarnation"]) == (before["Number"], before["Incarnation"] + 1)


def test_nobody_comes_by_the_same_name_nor_without_sharing(
    hosts: tuple[Daemon, Daemon], tmp_path: Path
) -> None:
    root = hosts[0].root.parent
    other = host(tmp_path, "node-c", root)
    other.flags = (*FLAGS, "--shared", "--host=node-a")
    alone = host(tmp_path, "node-d", root)
    alone.flags = FLAGS
    try:
        for daemon, reason in ((other, "as host node-a"), (alone, "--shared")):
            with pytest.raises(AssertionError, match=reason):
                daemon.start()
            assert not is_open(daemon.admin_socket)
    finally:
        for daemon in (other, alone):
            daemon.clean()


def test_a_root_that_one_host_had_becomes_a_shared_one(tmp_path: Path) -> None:
    """Also while its volumes are mounted."""
    alone = Daemon(tmp_path / "node-a", *FLAGS, root=tmp_path / "root")
    alone.folder.mkdir()
    a, b = host(tmp_path, "node-a"), host(tmp_path, "node-b")
    try:
        alone.start()
        for name in ("db", "log"):
            alone.create(name, **IMAGE)
        alone.mount("db", "m")
        alone.stop()
        a.start()
        b.start()
        lists(b, "db", "log")
        with pytest.raises(Refused, match="held by node-a"):
            b.mount("db", "m")
        eventually(lambda: _mounts(b, "log"), "what node-a does not use is let go of")
        a.unmount("db", "m")
        b.mount("db", "m")
    finally:
        for daemon in (alone, a, b):
            daemon.clean()
            daemon.let_go()


def test_a_daemon_that_came_before_its_disk_begins_anew_as_the_host_that_it_is_there(
    tmp_path: Path,
) -> None:
    """On the bare folder beneath it had the number of another, which loses nothing by that."""
    disk, path = tmp_path / "disk", tmp_path / "path"
    disk.mkdir()
    path.mkdir()
    a, b = host(tmp_path, "node-a", disk), host(tmp_path, "node-b", path)
    try:
        a.start()
        a.create("db", **IMAGE)
        a.mount("db", "m")
        b.start()
        assert told(b)["node-b"]["Number"] == told(a)["node-a"]["Number"] == 1
        b.create("db", **IMAGE)  # which is claimed by the same number as the other one
        subprocess.run(["mount", "--bind", disk, path], check=True)
        assert b.gone() != 0
        last = b.log.read_text().splitlines()[-1]
        assert "another root was mounted over" in last, b.log.read_text()
        b.start()
        lists(b, "db")
        assert told(b)["node-b"]["Number"] == 2
        with pytest.raises(Refused, match="held by node-a"):
            b.mount("db", "m")
        a.unmount("db", "m")
        b.mount("db", "m")
    finally:
        for daemon in (a, b):
            daemon.clean()
            daemon.let_go()
        subprocess.run(["umount", path], check=False)


def _mounts(daemon: Daemon, volume: str) -> bool:
    try:
        return bool(daemon.mount(volume, "m"))
    except Refused:
        return False


# Takeover

LEASE = ("--lease=2",)


@pytest.fixture
def holding(hosts: tuple[Daemon, Daemon]) -> tuple[Daemon, Daemon, Path]:
    """Two hosts, the first of which has the volume `db` mounted there, with something in it."""
    a, b = hosts
    for each in hosts:
        each.stop()
        each.flags += LEASE
        each.start()
    a.create("db", **IMAGE)
    folder = a.mount("db", "m")
    (folder / "acknowledged").write_text("precious")
    with (folder / "acknowledged").open() as file:
        os.fsync(file.fileno())
    lists(b, "db")
    return a, b, folder


def take_over(daemon: Daemon, *, is_off: bool = False) -> Any:
    return job(daemon, "POST", "/v1/volumes/db/takeover", HostIsOff=is_off)


def test_nothing_is_taken_from_a_host_that_lives(holding: tuple[Daemon, Daemon, Path]) -> None:
    a, b, folder = holding
    with pytest.raises(Refused, match=r"held by node-a .*whose machine has its image attached"):
        take_over(b)
    with pytest.raises(Refused, match="no other host has it"):
        take_over(a)
    (folder / "more").touch()
    assert told(b)["node-a"]["State"] == "alive"


def test_what_a_machine_had_that_is_off_goes_on_elsewhere(
    holding: tuple[Daemon, Daemon, Path],
) -> None:
    a, b, _ = holding
    a.clean()  # with all that it had mounted and attached
    eventually(lambda: told(b)["node-a"]["State"] == "silent", "node-a is silent")
    found = take_over(b)
    assert (found["Hosts"], found["Volume"]["State"]) == (["node-a"], "ready")
    assert (b.mount("db", "m") / "acknowledged").read_text() == "precious"
    assert (b.mount(found["Lost"], "m") / "acknowledged").read_text() == "precious"
    assert told(b)["node-a"]["State"] == "fenced"
    a.start()
    with pytest.raises(Refused, match="held by node-b"):
        a.mount("db", "m")
    assert told(a)["node-a"]["Incarnation"] == 3


@on_each_engine
def test_a_machine_that_still_has_it_reaches_it_no_more(
    holding: tuple[Daemon, Daemon, Path],
) -> None:
    """Its daemon is dead, and its containers write on: into what is kept as a snapshot."""
    a, b, folder = holding
    a.kill()
    eventually(lambda: told(b)["node-a"]["State"] == "silent", "node-a is silent")
    with pytest.raises(Refused, match=r"node-a .*whose machine has its image attached"):
        take_over(b)
    lost = take_over(b, is_off=True)["Lost"]
    ours = b.mount("db", "m")
    written = {f"{number}": os.urandom(4096) for number in range(150)}
    for name, data in written.items():
        (ours / name).write_bytes(data)
        (folder / f"late-{name}").write_bytes(data)
    files.sync_filesystem(ours)
    files.sync_filesystem(folder)
    assert {path.name for path in ours.iterdir()} == {"acknowledged", *written}
    assert all((ours / name).read_bytes() == data for name, data in written.items())
    with pytest.raises(AssertionError, match="took this one for dead"):
        a.start()
    a.clean()
    a.start()
    b.unmount("db", "m")
    assert (a.mount(lost, "m") / "late-149").read_bytes() == written["149"]


def test_a_host_that_was_taken_for_dead_ends_what_it_has(
    holding: tuple[Daemon, Daemon, Path],
) -> None:
    a, b, folder = holding
    assert take_over(b, is_off=True)["Lost"].startswith("db@lost-node-a-")

    def refused() -> bool:
        try:
            (folder / "late").write_text("late")
        except OSError as error:
            return error.errno == errno.EIO
        return False

    eventually(refused, "what node-a has mounted takes no more writes")
    (problem,) = a.admin("GET", "/v1/info")["General"]["Health"].split("; ")
    assert problem.startswith("another host took this one for dead")
    with pytest.raises(Refused, match="took this one for dead"):
        a.create("other", **IMAGE)
    a.unmount("db", "m")
    assert not mounts.is_mountpoint(folder.parent)
    a.stop()
    a.start()
    assert told(a)["node-a"]["State"] == "alive"
    b.mount("db", "m")
