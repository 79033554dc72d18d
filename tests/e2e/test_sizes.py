"""Sizes of volumes in use: grown by hand and by themselves, and space given back to the host."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.command import CommandError
from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine, prints

pytestmark = [pytest.mark.docker, pytest.mark.root]

MIB = 1 << 20
# Prints the MiB that df tells of, and writes as many MiB as it can, a file for each eight.
SIZE = "df -m /data | tail -1 | awk '{print $2}'"
FILL = "i=0; while dd if=/dev/zero of=/data/$i bs=1M count=8 conv=fsync; do i=$((i+1)); done"


@pytest.fixture
def owner(daemon_on: Callable[[str], Daemon]) -> Daemon:
    return daemon_on("ext4")


def create(engine: Engine, owner: Daemon, name: str, **options: str) -> str:
    engine.create_volume(name, owner.name, {"backend": "loopback", **options})
    return name


def size_in(container: Any) -> int:
    """The MiB that a container sees in its volume."""
    return int(prints(container, ["sh", "-c", SIZE]))


@pytest.mark.parametrize(("fs", "size"), [("xfs", 300), ("btrfs", 128)])
def test_grown_in_use(engine: Engine, owner: Daemon, name: str, fs: str, size: int) -> None:
    """12.9: a container sees the new size at once, and has its data."""
    create(engine, owner, name, fs=fs, size=f"{size}M")
    container = engine.background(f"{name}:/data")
    container.exec_run(["sh", "-c", "echo precious > /data/file"])
    before = size_in(container)
    grown = owner.told("resize", name, "512M")
    assert (grown["Size"], grown["Pending"]) == (512 * MIB, "")
    assert size_in(container) == before + 512 - size
    assert prints(container, ["cat", "/data/file"]) == b"precious\n"
    assert engine.inspect(name)["Status"]["size"] == 512 * MIB
    with pytest.raises(CommandError, match="clone"):
        owner.convoy("resize", name, "400M")


def test_grown_at_the_next_start(engine: Engine, owner: Daemon, name: str) -> None:
    """12.9: ext4 without the capability takes its size when a container starts next, as is said."""
    create(engine, owner, name, size="32M")
    container = engine.background(f"{name}:/data")
    container.exec_run(["sh", "-c", "echo precious > /data/file"])
    before = size_in(container)
    grown = owner.told("resize", name, "64M")
    assert grown["Size"] == 64 * MIB
    if grown["Pending"]:
        assert "CAP_SYS_RESOURCE" in grown["Pending"]
        assert size_in(container) == before
        container.restart(timeout=0)
    assert size_in(container) > before + 25
    assert prints(container, ["cat", "/data/file"]) == b"precious\n"


@pytest.mark.parametrize(("fs", "size", "most"), [("xfs", 300, 400), ("btrfs", 256, 400)])
def test_grows_by_itself(
    engine: Engine, owner: Daemon, name: str, fs: str, size: int, most: int
) -> None:
    """12.10: a container that fills it meets no end before the limit, and there it does."""
    create(engine, owner, name, fs=fs, size=f"{size}M", autogrow=f"{most}M")
    said = engine.run(f"{FILL} 2>/said; cat /said; {SIZE}; du -sm /data", f"{name}:/data")
    assert "No space left on device" in said
    *_, seen, used, _ = said.split()
    assert int(seen) > most * 0.8
    assert int(used) > most * 0.7
    assert engine.inspect(name)["Status"]["size"] == most * MIB
    grown = [line for line in owner.lines_of(name) if "grew by itself" in line["message"]]
    assert grown


def test_grows_by_itself_for_files(engine: Engine, owner: Daemon, name: str) -> None:
    """12.10: a container that makes more files than there may be has grown room for them."""
    inodes = 300 * MIB // 100 // 512
    options = {"o": f"inodes={inodes}", "size": "300M", "fs": "xfs", "autogrow": "400M"}
    create(engine, owner, name, **options)
    assert engine.inspect(name)["Status"]["options"]["inodes"] == str(inodes)
    script = """
        n=0; while [ $n -lt 7500 ]; do
            : > /data/$n || exit 1
            n=$((n + 1)); [ $((n % 100)) -gt 0 ] || sleep 0.05
        done; ls /data | wc -l
    """
    assert engine.run(script, f"{name}:/data") == "7500\n"
    status = engine.inspect(name)["Status"]
    assert status["size"] > 300 * MIB
    assert int(status["options"]["inodes"]) > inodes
    assert status["inodesUsed"] >= 7500
    (told,) = (each for each in owner.told("df")["Volumes"] if each["Name"] == name)
    assert told["InodesUsed"] == status["inodesUsed"]


@pytest.mark.parametrize("fs", ["ext4", "xfs", "btrfs"])
def test_given_back(engine: Engine, owner: Daemon, name: str, fs: str) -> None:
    """12.10: `df` tells what a trim gives back to the host, and a trim of a volume in use does."""
    create(engine, owner, name, fs=fs, size="300M")
    container = engine.background(f"{name}:/data")
    container.exec_run(["sh", "-c", "echo precious > /data/file; sync"])
    subprocess.run(["fallocate", "--length=300M", owner.data(name)], check=True)
    before = _space(owner, name)
    assert before["Promised"] == before["Allocated"] == 300 * MIB
    assert before["Reclaimable"] > 150 * MIB
    assert owner.told("trim", name)["Bytes"] > 100 * MIB
    assert _space(owner, name)["Allocated"] < 200 * MIB
    assert prints(container, ["cat", "/data/file"]) == b"precious\n"


def test_snapshots_share(engine: Engine, daemon_on: Callable[[str], Daemon], name: str) -> None:
    """12.10: `df` tells what is shared with snapshots, and what deleting each would give back."""
    owner = daemon_on("xfs")
    create(engine, owner, name, size="64M")
    engine.run("dd if=/dev/urandom of=/data/big bs=1M count=16", f"{name}:/data")
    owner.convoy("snapshot", "create", name, "--name", "s")
    space = _space(owner, name)
    assert space["Shared"] > 16 * MIB
    (snapshot,) = space["Snapshots"]
    assert snapshot["Name"] == "s"
    assert snapshot["Frees"] < 4 * MIB
    engine.run("dd if=/dev/urandom of=/data/big bs=1M count=16 conv=fsync,notrunc", f"{name}:/data")
    space = _space(owner, name)
    assert space["Snapshots"][0]["Frees"] >= 16 * MIB
    assert space["Shared"] < 4 * MIB + space["Allocated"] - 16 * MIB


def _space(owner: Daemon, name: str) -> dict[str, Any]:
    found = owner.told("df")["Volumes"]
    return next(volume for volume in found if volume["Name"] == name)
