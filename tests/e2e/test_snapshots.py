"""Snapshots of volumes that containers write to, mounted by other containers."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from docker.errors import APIError, NotFound

from tests.e2e import host
from tests.e2e.command import CommandError
from tests.e2e.conftest import WAYS
from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine, crash_loop, prints, state
from tests.e2e.waiting import until
from tests.e2e.writer import Writer, written

pytestmark = [pytest.mark.docker, pytest.mark.root]

XFS = {"backend": "loopback", "size": "300M", "fs": "xfs"}
# Snapshots of what, where -> as what they are recorded.
CASES = {way: (*where, way) for way, where in WAYS.items()} | {"xfs": ("xfs", XFS, "reflink")}
CONSISTENCY = {"subvolume": "atomic", "inside": "atomic", "files": "per-file"}
PROJECT = "com.docker.compose.project"


def image(engine: Engine, owner: Daemon, name: str, **options: str) -> str:
    engine.create_volume(name, owner.name, {"backend": "loopback", "size": "16M", **options})
    return name


@pytest.mark.parametrize("case", CASES)
def test_under_a_writer(
    engine: Engine, daemon_on: Callable[[str], Daemon], tmp_path: Path, name: str, case: str
) -> None:
    """12.1: all that was acknowledged is in it, it cannot be written to, and the writer goes on."""
    kind, options, way = CASES[case]
    owner = daemon_on(kind)
    engine.create_volume(name, owner.name, options)
    writer = Writer(engine, tmp_path / "said", name)
    safe = []
    for snapshot in ("one", "two"):
        writer.goes_on()
        safe.append(writer.acknowledged())
        made = owner.told("snapshot", "create", name, "--name", snapshot)
        assert made["FullName"] == f"{name}@{snapshot}"
        assert (made["Way"], made["Consistency"]) == (way, CONSISTENCY.get(way, "frozen"))
    writer.goes_on()
    both = (f"{name}@one:/one:ro", f"{name}@two:/two")
    script = "cat /one/log; echo -; cat /two/log; echo -; touch /one/x /two/x 2>&1; ls /one /two"
    one, two, rest = engine.run(script, *both).split("-\n")
    assert written(one) >= safe[0]
    assert written(two) >= safe[1]
    assert rest.count("Read-only file system") == 2
    assert rest.endswith("/one:\nlog\n\n/two:\nlog\n")
    assert written(one) < written(two) < writer.acknowledged()
    assert [each["FullName"] for each in owner.told("snapshot", "list", name)] == [
        f"{name}@one",
        f"{name}@two",
    ]


@pytest.mark.parametrize("way", ["reflink", "subvolume", "inside"], indirect=True)
def test_as_a_volume(engine: Engine, owner: Daemon, db: str) -> None:
    """12.2: it needs no create, is inspected but not listed, and cannot be lost by volume rm."""
    engine.run("echo old > /data/file; chown 999:998 /data/file", f"{db}:/data")
    user = engine.background(f"{db}:/data")
    owner.convoy("snapshot", "create", db, "--name", "s")
    assert owner.told("snapshot", "inspect", "s")["FullName"] == f"{db}@s"
    user.exec_run(["sh", "-c", "echo new > /data/file"])
    assert engine.run("stat -c %u:%g /data/file; cat /data/file", f"{db}@s:/data:ro") == (
        "999:998\nold\n"
    )
    assert f"{db}@s" not in engine.volume_names()
    assert engine.inspect(f"{db}@s")["Driver"] == owner.name
    with pytest.raises(APIError, match=f"convoy snapshot delete {db}@s"):
        engine.remove_volume(f"{db}@s")
    reader = engine.background(f"{db}@s:/data:ro")
    user.remove(force=True)
    with pytest.raises(CommandError, match=f"in use by container {reader.id[:12]}"):
        owner.convoy("snapshot", "delete", f"{db}@s")
    with pytest.raises(APIError, match=f"in use by container {reader.id[:12]}"):
        engine.remove_volume(db)
    assert prints(reader, ["cat", "/data/file"]) == b"old\n"
    reader.kill()
    until(lambda: owner.is_released(f"{db}@s"), "an unmount")
    assert owner.convoy("snapshot", "delete", f"{db}@s") == f"{db}@s\n"
    with pytest.raises(NotFound):
        engine.inspect(f"{db}@s")
    assert engine.run("cat /data/file", f"{db}:/data") == "new\n"


@pytest.mark.parametrize("way", ["reflink"], indirect=True)
def test_misspelt(engine: Engine, owner: Daemon, db: str) -> None:
    """12.2: a name that no snapshot has is refused in every form, and no volume comes of it."""
    owner.convoy("snapshot", "create", db, "--name", "s")
    before = engine.volume_names()
    with pytest.raises(APIError, match="includes invalid characters for a local volume name"):
        engine.run("true", f"{db}@t:/data:ro")
    with pytest.raises(APIError, match="convoy snapshot create"):
        engine.create_volume(f"{db}@t", owner.name)
    assert engine.volume_names() == before


@pytest.mark.parametrize("way", ["copy"], indirect=True)
def test_group(engine: Engine, owner: Daemon, name: str, tmp_path: Path) -> None:
    """12.3: the volumes of a project and of a container, all at one moment, or none at all."""
    ours = [image(engine, owner, f"{name}-{fs}", fs=fs, size="300M") for fs in ("ext4", "xfs")]
    other = image(engine, owner, f"{name}-other")
    for volume in ours:  # so that a copy takes longer than several writes
        engine.run("dd if=/dev/zero of=/data/big bs=1M count=60 conv=fsync", f"{volume}:/data")
    writer = Writer(engine, tmp_path / "said", *ours, labels={PROJECT: name})
    user = engine.background(f"{other}:/data", "unknown:/local")
    for snapshot in ("r1", "r2"):
        writer.goes_on()
        safe = writer.acknowledged()
        asked = ("--compose-project", name, "--container", user.name, "--name", snapshot)
        made = owner.told("snapshot", "create", *asked)
        assert {each["FullName"] for each in made} == {
            f"{each}@{snapshot}" for each in (*ours, other)
        }
        assert {each["Consistency"] for each in made} == {"frozen"}
        assert len({each["Group"] for each in made}) == 1
        mounts = [f"{volume}@{snapshot}:/{at}:ro" for at, volume in enumerate(ours)]
        first, second = map(
            written, engine.run("cat /0/log; echo -; cat /1/log", *mounts).split("-\n")
        )
        # Each number was safe in the first volume before it was written to the second.
        assert first >= second >= max(safe, first - 1)
    owner.convoy("snapshot", "delete", f"{ours[0]}@r1")
    with pytest.raises(CommandError, match=f"{ours[1]}@r1 already exists"):
        owner.convoy("snapshot", "create", "--group", ",".join(ours), "--name", "r1")
    assert f"{ours[0]}@r1" not in {each["FullName"] for each in owner.told("snapshot", "list")}


@pytest.mark.parametrize("way", ["files"], indirect=True)
def test_pause(engine: Engine, owner: Daemon, db: str, tmp_path: Path) -> None:
    """12.3: the containers of folders stand still meanwhile, and only then it is one moment."""
    second = f"{db}-second"
    engine.create_volume(second, owner.name, {"backend": "directory"})
    writer = Writer(engine, tmp_path / "said", db, second)
    idle = engine.background(f"{db}:/data")
    idle.pause()
    made = owner.told("snapshot", "create", "--group", f"{db},{second}", "--name", "s", "--pause")
    assert {each["Consistency"] for each in made} == {"paused"}
    writer.goes_on()
    logs = engine.run("cat /0/log; echo -; cat /1/log", f"{db}@s:/0:ro", f"{second}@s:/1:ro")
    first, last = map(written, logs.split("-\n"))
    assert first >= last >= first - 1
    now = datetime.fromisoformat(engine.client.info()["SystemTime"])
    kinds = {"event": ["pause", "unpause"]}
    until_now = {"since": 1, "until": int(now.timestamp()) + 1}
    events = engine.client.api.events(**until_now, filters=kinds, decode=True)
    told = [(event["Action"], event["id"]) for event in events]
    assert told[-2:] == [("pause", writer.container.id), ("unpause", writer.container.id)]
    idle.reload()
    assert idle.status == "paused"


@pytest.mark.parametrize("way", ["files"], indirect=True)
def test_pause_beside_a_crash_loop(engine: Engine, owner: Daemon, db: str, tmp_path: Path) -> None:
    """12.3: one that cannot be paused is stopped meanwhile, and is in its loop again afterwards."""
    writer = Writer(engine, tmp_path / "said", db)
    loop = crash_loop(engine, f"{db}:/data")
    made = owner.told("snapshot", "create", db, "--name", "s", "--pause")
    assert made["Consistency"] == "paused"
    writer.goes_on()
    until(lambda: state(loop) == "restarting", "the next crash")
    assert not list((owner.run_dir / "paused").glob("*.json"))


@pytest.mark.parametrize("way", ["copy"], indirect=True)
def test_killed_while_frozen(engine: Engine, owner: Daemon, name: str, tmp_path: Path) -> None:
    """12.4: when the daemon dies the writer goes on; the next one leaves nothing half made."""
    image(engine, owner, name, size="1G")
    writer = Writer(engine, tmp_path / "said", name)
    writer.container.exec_run(["dd", "if=/dev/zero", "of=/data0/big", "bs=1M", "count=500"])
    with _caught_copying(owner, name):
        assert host.is_frozen(owner.mountpoint(name))
        before = writer.acknowledged()
        owner.kill()
        writer.goes_on()
    owner.start()
    assert owner.told("snapshot", "list") == []
    until(lambda: _at_home(owner, name) == {"image", "volume.json"}, "nothing half made")
    assert not any((owner.run_dir / "frozen").iterdir())
    writer.goes_on()
    owner.convoy("snapshot", "create", name, "--name", "s")
    assert written(engine.run("cat /data/log", f"{name}@s:/data:ro")) > before


def _at_home(owner: Daemon, volume: str) -> set[str]:
    """The names of all that lies in a volume's home, but for the folder of its snapshots."""
    home = owner.data(volume).parent
    return {str(path.relative_to(home)) for path in home.rglob("*") if path != home / "snapshots"}


@contextmanager
def _caught_copying(owner: Daemon, volume: str) -> Iterator[None]:
    """Have a snapshot taken, which fails, and the daemon stand still in the middle of the copy."""
    snapshots = owner.data(volume).parent / "snapshots"

    def copying() -> bool:
        return any(file.stat().st_blocks for file in snapshots.glob(".new-*/image"))

    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(owner.convoy, "snapshot", "create", volume, "--name", "half")
        until(copying, "a copy that has begun")
        owner.send(signal.SIGSTOP)
        assert not command.done()
        yield
        assert isinstance(command.exception(), CommandError)
