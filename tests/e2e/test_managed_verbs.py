"""What an owner does with volumes, where the daemon is a managed plugin in a root of its own."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.servers import PASSWORD, USER, rest_served
from tests.e2e.command import CommandError
from tests.e2e.engine import Engine, prints
from tests.e2e.managed import NAME, ROOT, RUN_DIR, Plugin
from tests.e2e.waiting import until
from tests.e2e.writer import Writer, written

# The first test waits for the build, and for what that needs.
pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.timeout(600)]

IMAGE = {"backend": "loopback", "size": "32M"}


@pytest.fixture
def engine(the_managed_engine: Engine, plugin: Plugin) -> Engine:
    """The engine of the plugin, without containers and volumes."""
    return the_managed_engine


@pytest.fixture
def db(engine: Engine, name: str) -> str:
    engine.create_volume(name, NAME, IMAGE)
    return name


def test_snapshot_and_rollback(engine: Engine, plugin: Plugin, db: str, tmp_path: Path) -> None:
    """12.14: a snapshot under a writer is frozen, is mounted as it is, and can be gone back to."""
    writer = Writer(engine, tmp_path / "said", db)
    writer.goes_on()
    safe = writer.acknowledged()
    assert plugin.convoy("snapshot", "create", db, "--name", "s") == f"{db}@s\n"
    assert '"Consistency": "frozen"' in plugin.convoy("snapshot", "inspect", f"{db}@s")
    writer.goes_on()
    taken = written(engine.run("cat /data/log", f"{db}@s:/data:ro"))
    assert safe <= taken < writer.acknowledged()
    with pytest.raises(CommandError, match=f"in use by container {writer.container.id[:12]}"):
        plugin.convoy("rollback", f"{db}@s")
    writer.container.kill()
    saved = plugin.convoy("rollback", f"{db}@s").strip()
    assert written(engine.run("cat /data/log", f"{db}:/data")) == taken
    plugin.convoy("rollback", saved)
    assert written(engine.run("cat /data/log", f"{db}:/data")) > taken


@pytest.mark.parametrize("options", [{}, IMAGE], ids=["directory", "loopback"])
def test_snapshot_takes_no_writes(
    engine: Engine, plugin: Plugin, name: str, options: dict[str, str]
) -> None:
    """11.37, 12.14: not even where Docker is not told so; what else is mounted how holds, too."""
    engine.create_volume(name, NAME, options)
    engine.run("echo kept > /data/file", f"{name}:/data")
    plugin.convoy("snapshot", "create", name, "--name", "s")
    tried = "touch /data/new 2>&1; grep ' /data ' /proc/mounts; cat /data/file"
    said = engine.run(tried, f"{name}@s:/data")
    assert "Read-only file system" in said
    assert "nosuid,nodev" in said
    assert said.endswith("kept\n")
    plugin.convoy("snapshot", "delete", f"{name}@s")


def test_killed_while_frozen(engine: Engine, plugin: Plugin, name: str, tmp_path: Path) -> None:
    """12.14: when the plugin dies in the middle of a snapshot the writer goes on."""
    engine.create_volume(name, NAME, {**IMAGE, "size": "1G"})
    writer = Writer(engine, tmp_path / "said", name)
    writer.container.exec_run(["dd", "if=/dev/zero", "of=/data0/big", "bs=1M", "count=500"])
    with _copying(plugin, name):
        assert any((RUN_DIR / "frozen").iterdir())
        plugin.crash()
        writer.goes_on()
    until(plugin.answers, "the plugin that the engine starts anew")
    assert plugin.convoy("snapshot", "list", name) == "[]\n"
    until(lambda: not any((RUN_DIR / "frozen").iterdir()), "no note of what is frozen")


@pytest.mark.parametrize(("fs", "size"), [("ext4", "32M"), ("xfs", "300M"), ("btrfs", "128M")])
def test_clone(engine: Engine, plugin: Plugin, name: str, fs: str, size: str) -> None:
    """12.14: a volume, its snapshot and its clone can be used at once: no two have one identity."""
    engine.create_volume(name, NAME, {**IMAGE, "size": size, "fs": fs})
    engine.run("echo old > /data/file", f"{name}:/data")
    plugin.convoy("snapshot", "create", name, "--name", "s")
    plugin.docker("volume", "create", "-d", NAME, "-o", f"from={name}@s", f"{name}-copy")
    volumes = (f"{name}:/one", f"{name}@s:/two:ro", f"{name}-copy:/three")
    script = "echo new > /one/file; cat /one/file /two/file /three/file"
    assert engine.run(script, *volumes) == "new\nold\nold\n"
    assert engine.run("cat /data/file", f"{name}-copy:/data") == "old\n"


def test_resize(engine: Engine, plugin: Plugin, db: str) -> None:
    """12.14: an ext4 volume in use takes its new size at its next mount, and says so."""
    size = "echo precious > /data/file; df -m /data | tail -1 | awk '{print $2}'"
    before = int(engine.run(size, f"{db}:/data"))
    container = engine.background(f"{db}:/data")
    assert "CAP_SYS_RESOURCE" in plugin.convoy("--json", "resize", db, "64M")
    container.kill()
    assert int(engine.run(size, f"{db}:/data")) > before + 25
    assert plugin.convoy("resize", db, "96M") == "96MiB\n"
    assert int(engine.run(size, f"{db}:/data")) > before + 50


def test_adopt(engine: Engine, plugin: Plugin, name: str) -> None:
    """12.14: it finds the engine at its socket, and the engine's own volumes on the host."""
    engine.client.volumes.create(name, driver="local")
    user = engine.background(
        f"{name}:/data", command="echo precious > /data/file; exec sleep 1000000"
    )
    until(lambda: prints(user, ["cat", "/data/file"]) == b"precious\n", "the file")
    with pytest.raises(CommandError, match=f"in use by container {user.name}"):
        plugin.convoy("adopt", "--from-docker-volume", name)
    plugin.convoy("adopt", "--from-docker-volume", name, "--stop-containers")
    assert (ROOT / "volumes" / name / "volume.json").exists()
    user.remove()
    plugin.docker("volume", "rm", name)
    plugin.docker("volume", "create", "--driver", "convoy", name)
    assert engine.run("cat /data/file", f"{name}:/data") == "precious\n"


def test_release(engine: Engine, plugin: Plugin, db: str) -> None:
    """12.14: from within a plugin, the engine's own volumes on the host are made and filled."""
    engine.run("echo precious > /data/file", f"{db}:/data")
    plugin.convoy("release", db)
    assert engine.inspect(db)["Driver"] == "local"
    assert engine.run("cat /data/file", f"{db}:/data") == "precious\n"


@contextmanager
def _copying(plugin: Plugin, volume: str) -> Iterator[None]:
    """Have a snapshot taken, which fails; within, its copy has begun."""
    snapshots = ROOT / "volumes" / volume / "snapshots"

    def begun() -> bool:
        return any(file.stat().st_blocks for file in snapshots.glob(".new-*/image"))

    with ThreadPoolExecutor(1) as pool:
        command = pool.submit(plugin.convoy, "snapshot", "create", volume, "--name", "half")
        until(begun, "a copy that has begun")
        yield
        assert isinstance(command.exception(), CommandError)


def test_backup_and_restore(engine: Engine, plugin: Plugin, db: str, tmp_path: Path) -> None:
    """12.14, 12.16: in a repository on a server, with secrets that only the command sees."""
    engine.run("echo kept > /data/file", f"{db}:/data")
    password, credentials = tmp_path / "password", tmp_path / "credentials"
    password.write_text("not for everybody\n")
    credentials.write_text(f"RESTIC_REST_USERNAME={USER}\nRESTIC_REST_PASSWORD={PASSWORD}\n")
    secrets = ("--password-file", str(password), "--credentials-file", str(credentials))
    with rest_served(tmp_path / "repository") as url:
        location = f"rest:http://{url.partition('@')[2]}"
        plugin.convoy("repository", "add", "offsite", location, *secrets)
        try:
            backup = plugin.convoy("backup", "create", db).strip()
            engine.remove_volume(db)
            plugin.docker("volume", "create", "-d", NAME, "-o", "backup=offsite", db)
            assert engine.run("cat /data/file", f"{db}:/data") == "kept\n"
            assert plugin.convoy("restore", backup, "--as", f"{db}-again") == f"{db}-again\n"
            assert json.loads(plugin.convoy("backup", "verify", "--read-data")) == {"Problems": []}
        finally:
            plugin.convoy("repository", "remove", "offsite")
