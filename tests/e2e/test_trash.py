"""Volumes that were removed, and brought back; those that cannot be; and other names and kinds."""

from collections.abc import Callable

import pytest
from docker.errors import APIError

from tests.e2e.command import CommandError
from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.root]

MIB = 1 << 20
# A user's data with what is easily lost: owner, mode, links, a hole, times.
USER = "999:998"
PREPARE = f"""
cd /data; mkdir -m 2770 db; echo precious > db/file; ln db/file db/hard; ln -s file db/soft
dd if=/dev/zero of=db/hole bs=1 count=0 seek=1000000 status=none; echo x >> db/hole
chown -R {USER} db; chmod 600 db/file; touch -d '2001-02-03 04:05:06' db/file
"""
SHOW = (
    "cd /data; stat -c '%n %u:%g %a %s %h' db db/file db/soft db/hole; stat -c %y db/file; cat db/*"
)


def prepared(engine: Engine, volume: str) -> str:
    """Fill a volume; returns what SHOW shows of it."""
    engine.run(PREPARE, f"{volume}:/data")
    return engine.run(SHOW, f"{volume}:/data")


@pytest.mark.parametrize("way", ["reflink", "subvolume"], indirect=True)
def test_removed_and_restored(engine: Engine, owner: Daemon, db: str) -> None:
    """12.11: what `docker volume rm` took comes back with its snapshots, beside a new one."""
    shown = prepared(engine, db)
    owner.convoy("snapshot", "create", db, "--name", "s")
    engine.remove_volume(db)
    assert db not in engine.volume_names()
    (removed,) = owner.told("trash", "list")
    assert (removed["Name"], removed["Snapshots"]) == (db, ["s"])
    assert engine.run("ls -A /data", f"{db}:/data", volume_driver=owner.name) == ""
    with pytest.raises(CommandError, match=f"convoy trash restore {db} --as OTHER"):
        owner.convoy("trash", "restore", db)
    assert owner.convoy("trash", "restore", db, "--as", f"{db}-old") == f"{db}-old\n"
    assert engine.run(SHOW, f"{db}-old:/data") == shown
    assert engine.run(SHOW, f"{db}-old@s:/data:ro") == shown
    assert owner.told("trash", "list") == []
    # The other way in, and the way out.
    owner.convoy("delete", f"{db}-old")
    owner.convoy("delete", db)
    assert owner.convoy("trash", "purge", f"{db}-old") == f"{removed['Key']}\n".replace(
        f"{db}.", f"{db}-old."
    )
    assert owner.convoy("trash", "restore", db) == f"{db}\n"
    assert engine.run("ls -A /data", f"{db}:/data") == ""


def test_after_a_crash(engine: Engine, daemon: Daemon, volume: str) -> None:
    """12.11: what lay in the trash is there for the next daemon."""
    shown = prepared(engine, volume)
    engine.remove_volume(volume)
    daemon.kill()
    daemon.start()
    daemon.convoy("trash", "restore", volume)
    assert engine.run(SHOW, f"{volume}:/data") == shown


def test_no_room(engine: Engine, daemon_on: Callable[[str], Daemon], name: str) -> None:
    """12.11: before a create is refused for want of space the trash gives its oldest up."""
    owner = daemon_on("ext4")
    reserved = {"backend": "loopback", "size": "700M", "sparse": "false"}  # of a disk of 2 GiB
    for each in ("first", "second", "third"):
        engine.create_volume(f"{name}-{each}", owner.name, reserved)
        engine.run("echo precious > /data/file", f"{name}-{each}:/data")
        if each != "third":
            engine.remove_volume(f"{name}-{each}")
    (left,) = owner.told("trash", "list")
    assert left["Name"] == f"{name}-second"
    owner.convoy("trash", "restore", f"{name}-second")
    assert engine.run("cat /data/file", f"{name}-second:/data") == "precious\n"
    # What no purge could make room for costs nothing.
    engine.remove_volume(f"{name}-second")
    with pytest.raises(APIError, match="3GiB"):
        engine.create_volume(f"{name}-huge", owner.name, {**reserved, "size": "3G"})
    assert [each["Name"] for each in owner.told("trash", "list")] == [f"{name}-second"]


def test_protected(engine: Engine, daemon: Daemon, volume: str) -> None:
    """12.12: neither Docker nor the owner removes it, until it is protected no more."""
    shown = prepared(engine, volume)
    daemon.convoy("protect", volume)
    try:
        with pytest.raises(APIError, match=f"convoy protect {volume} --off"):
            engine.remove_volume(volume)
        with pytest.raises(CommandError, match="protect"):
            daemon.convoy("delete", volume)
        assert engine.run(SHOW, f"{volume}:/data") == shown
    finally:
        daemon.convoy("protect", volume, "--off")
    engine.remove_volume(volume)


def test_renamed(engine: Engine, daemon: Daemon, volume: str) -> None:
    """12.12: it is refused in use; then the data, and the snapshots, go by the new name alone."""
    shown = prepared(engine, volume)
    daemon.convoy("snapshot", "create", volume, "--name", "s")
    new = f"{volume}-new"
    user = engine.background(f"{volume}:/data")
    with pytest.raises(CommandError, match=f"in use by container {user.id[:12]}"):
        daemon.convoy("rename", volume, new)
    user.remove(force=True)
    assert daemon.convoy("rename", volume, new) == f"{new}\n"
    names = engine.volume_names()
    assert new in names
    assert volume not in names
    assert engine.run(SHOW, f"{new}:/data") == shown
    assert engine.run(SHOW, f"{new}@s:/data:ro") == shown
    assert engine.run("ls -A /data", f"{volume}:/data", volume_driver=daemon.name) == ""


def test_converted_and_back(engine: Engine, daemon_on: Callable[[str], Daemon], name: str) -> None:
    """12.12: a folder becomes an image and a folder again, with all that a user had in it."""
    owner = daemon_on("ext4")
    engine.create_volume(name, owner.name, {"backend": "directory"})
    shown = prepared(engine, name)
    user = engine.background(f"{name}:/data")
    image = ("--backend", "loopback", "--size", "32M")
    with pytest.raises(CommandError, match=f"in use by container {user.id[:12]}"):
        owner.convoy("convert", name, *image)
    user.remove(force=True)
    owner.convoy("convert", name, *image)
    assert engine.inspect(name)["Status"]["backend"] == "loopback"
    assert engine.run(SHOW, f"{name}:/data") == shown
    engine.run("echo more > /data/more", f"{name}:/data")
    owner.convoy("convert", name, "--backend", "directory")
    assert engine.inspect(name)["Status"]["backend"] == "directory"
    assert engine.run(f"{SHOW}; cat more", f"{name}:/data") == f"{shown}more\n"
    # The first of the two is what there was before all this.
    first, _ = owner.told("trash", "list")
    owner.convoy("trash", "restore", first["Key"], "--as", f"{name}-first")
    assert engine.run(f"{SHOW}; ls", f"{name}-first:/data") == f"{shown}db\n"
