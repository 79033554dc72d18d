"""Daemons of several hosts on one root, with real images and mounts; here they share a machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.verbs import snapshot
from tests.harness import Daemon, Refused, eventually, is_open

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
# Nobody mounts these volumes into containers, so every reference would be taken for a leak.
FLAGS = (
    *("--reserve=0", "--overcommit=1000", "--janitor-interval=0.1", "--reference-grace=1e9"),
    "--trash-keep=24h",
)
IMAGE = {"backend": "loopback", "size": "16M"}
FOLDER = {"backend": "directory"}


def host(tmp_path: Path, name: str) -> Daemon:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    flags = (*FLAGS, "--shared", f"--host={name}")
    return Daemon(folder, *flags, root=tmp_path / "root")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Daemon, Daemon]]:
    a, b = host(tmp_path, "node-a"), host(tmp_path, "node-b")
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
            with pytest.raises(Refused, match=f"volume db is held by {here.folder.name} .seen"):
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
    other = host(tmp_path, "node-c")
    other.flags = (*FLAGS, "--shared", "--host=node-a")
    alone = host(tmp_path, "node-d")
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


def _mounts(daemon: Daemon, volume: str) -> bool:
    try:
        return bool(daemon.mount(volume, "m"))
    except Refused:
        return False
