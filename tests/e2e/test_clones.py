"""Writable copies of volumes and snapshots, and the private ones that every container gets."""

from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine, prints
from tests.e2e.waiting import until
from tests.e2e.writer import Writer, written

pytestmark = [pytest.mark.docker, pytest.mark.root]

READ = ["cat", "/data/file"]


@pytest.fixture
def ci(engine: Engine, owner: Daemon, db: str) -> str:
    """A volume of which every container gets a clone of its own, beginning with `golden`."""
    engine.run("echo golden > /data/file; chown 999:998 /data/file", f"{db}:/data")
    owner.convoy("snapshot", "create", db, "--name", "golden")
    engine.create_volume(f"{db}-ci", owner.name, {"from": f"{db}@golden", "per_mount": "true"})
    return f"{db}-ci"


@pytest.mark.parametrize("way", ["reflink", "subvolume", "inside"], indirect=True)
def test_of_a_snapshot(engine: Engine, owner: Daemon, db: str) -> None:
    """12.7: `-o from=db@s` makes a volume that depends on nothing; asked again it is there."""
    engine.run("echo old > /data/file; chown 999:998 /data/file /data", f"{db}:/data")
    owner.convoy("snapshot", "create", db, "--name", "s")
    engine.run("echo new > /data/file", f"{db}:/data")
    copy = f"{db}-copy"
    for _ in range(2):
        engine.create_volume(copy, owner.name, {"from": f"{db}@s"})
    owner.convoy("create", copy, "--from", f"{db}@s")
    assert engine.inspect(copy)["Labels"] == {"kept": "yes"}
    refused = owner.call("/VolumeDriver.Create", {"Name": copy, "Opts": {"from": db}})
    assert f"other options: from is {db}@s, asked {db}" in refused.error
    engine.remove_volume(db)
    show = "stat -c %u:%g /data /data/file; cat /data/file; echo more >> /data/file"
    assert engine.run(show, f"{copy}:/data", user="999:998") == "999:998\n" * 2 + "old\n"
    assert engine.run("cat /data/file; ls -A /data", f"{copy}:/data") == "old\nmore\nfile\n"


@pytest.mark.parametrize("way", ["reflink", "inside"], indirect=True)
def test_of_a_live_volume(engine: Engine, owner: Daemon, db: str, tmp_path: Path) -> None:
    """12.7: `-o from=db` has all that was acknowledged before, and the writer goes on."""
    writer = Writer(engine, tmp_path / "said", db)
    writer.goes_on()
    safe = writer.acknowledged()
    engine.create_volume(f"{db}-live", owner.name, {"from": db})
    writer.goes_on()
    assert written(engine.run("cat /data/log; echo x >> /data/log", f"{db}-live:/data")) >= safe


@pytest.mark.parametrize("way", ["reflink"], indirect=True)
def test_misspelt(engine: Engine, owner: Daemon, db: str) -> None:
    """12.7: a snapshot that is not there is answered with those that are; nothing is made."""
    for snapshot in ("nightly", "weekly"):
        owner.convoy("snapshot", "create", db, "--name", snapshot)
    with pytest.raises(APIError, match=f"{db}@nihgtly; there are nightly, weekly"):
        engine.create_volume(f"{db}-copy", owner.name, {"from": f"{db}@nihgtly"})
    assert f"{db}-copy" not in engine.volume_names()


@pytest.mark.parametrize("way", ["subvolume", "inside"], indirect=True)
def test_of_another_kind(engine: Engine, owner: Daemon, db: str) -> None:
    """12.7: a clone may be smaller, or of another backend or filesystem; then files are copied."""
    engine.run("cd /data; echo old > file; chown 999:998 file; ln file same", f"{db}:/data")
    owner.convoy("snapshot", "create", db, "--name", "s")
    kinds = {
        "dir": ("--backend", "directory"),
        "ext4": ("--backend", "loopback", "--fs", "ext4", "--size", "18M"),
    }
    for name, options in kinds.items():
        clone = f"{db}-{name}"
        assert owner.convoy("clone", f"{db}@s", clone, *options) == f"{clone}\n"
        show = "stat -c '%u:%g %h' /data/file; cat /data/file; ls -A /data"
        assert engine.run(show, f"{clone}:/data") == "999:998 2\nold\nfile\nsame\n"
    assert engine.inspect(f"{db}-ext4")["Status"]["size"] == 18 << 20


@pytest.mark.parametrize("way", ["reflink", "subvolume"], indirect=True)
def test_private(engine: Engine, owner: Daemon, ci: str) -> None:
    """12.8: each container begins with the golden content and sees nobody else's changes."""
    one, two = (engine.background(f"{ci}:/data") for _ in range(2))
    for number, container in enumerate((one, two)):
        assert prints(container, READ) == b"golden\n"
        container.exec_run(["sh", "-c", f"echo {number} > /data/file; touch /data/{number}"])
    assert prints(one, ["sh", "-c", "cat /data/file; ls /data"]) == b"0\n0\nfile\n"
    assert prints(two, ["sh", "-c", "cat /data/file; ls /data"]) == b"1\n1\nfile\n"
    assert _clones(owner, ci) == 2
    one.restart(timeout=0)
    assert prints(one, READ) == b"golden\n"
    assert prints(two, READ) == b"1\n"
    one.kill()
    two.kill()
    until(lambda: _clones(owner, ci) == 0, "the end of both clones")
    assert engine.run("cat /data/file; ls -A /data", f"{ci}:/data") == "golden\nfile\n"


@pytest.mark.parametrize("way", ["subvolume"], indirect=True)
def test_golden_content(engine: Engine, owner: Daemon, ci: str) -> None:
    """12.8: `convoy mount` mounts what they begin with; those that run keep what they have."""
    running = engine.background(f"{ci}:/data")
    folder = Path(owner.convoy("mount", ci).strip())
    (folder / "file").write_text("edited\n")
    assert prints(running, READ) == b"golden\n"
    assert engine.run(" ".join(READ), f"{ci}:/data") == "edited\n"
    owner.convoy("umount", ci)
    assert engine.run(" ".join(READ), f"{ci}:/data") == "edited\n"
    with pytest.raises(APIError, match=running.id[:12]):
        engine.remove_volume(ci)


@pytest.mark.parametrize("way", ["reflink", "subvolume"], indirect=True)
def test_private_after_crashes(engine: Engine, owner: Daemon, ci: str) -> None:
    """12.8: a container keeps its clone when the daemon dies; an engine's death leaks none."""
    kept, lost = (engine.background(f"{ci}:/data") for _ in range(2))
    kept.exec_run(["sh", "-c", "echo mine > /data/file"])
    owner.kill()
    owner.start()
    assert prints(kept, READ) == b"mine\n"
    assert _clones(owner, ci) == 2
    assert engine.run(" ".join(READ), f"{ci}:/data") == "golden\n"
    engine.kill()
    owner.kill()
    owner.start()
    engine.start()
    engine.client.api.remove_container(lost.id, force=True)
    kept = _again(engine, kept)
    assert prints(kept, READ) in (b"mine\n", b"golden\n")
    until(lambda: _clones(owner, ci) == 1, "the end of the clone of a container that is gone")
    kept.kill()
    until(lambda: _clones(owner, ci) == 0, "the end of the last clone")


@pytest.mark.parametrize("way", ["copy"], indirect=True)
def test_private_without_reflinks(engine: Engine, owner: Daemon, db: str) -> None:
    """12.8: where each start of a container would wait for a copy it is refused at once."""
    with pytest.raises(APIError, match="per_mount needs clones that are made at once"):
        engine.create_volume(f"{db}-ci", owner.name, {"from": db, "per_mount": "true"})
    assert f"{db}-ci" not in engine.volume_names()


def _again(engine: Engine, container: Any) -> Any:
    """A container after the engine's crash, started if it is not running."""
    found = engine.client.containers.get(container.id)
    if found.status != "running":
        found.start()
    return found


def _clones(owner: Daemon, volume: str) -> int:
    """How many private clones of a volume there are, on the disk or mounted."""
    folder = owner.root / "volumes" / volume / "clones"
    return len(list(folder.iterdir())) if folder.exists() else 0
