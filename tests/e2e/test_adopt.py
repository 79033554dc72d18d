"""Volumes of Docker's own driver taken over and given back, with all that containers wrote."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e import command
from tests.e2e.command import CommandError
from tests.e2e.daemon import Daemon
from tests.e2e.engine import Engine
from tests.e2e.test_trash import SHOW, prepared
from tests.e2e.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.root]

PROJECT = "com.docker.compose.project"


@pytest.fixture
def local(engine: Engine, name: str) -> tuple[str, str]:
    """A volume of the driver `local` with a user's data, and what SHOW shows of it."""
    engine.client.volumes.create(name, driver="local")
    return name, prepared(engine, name)


def flags(options: Mapping[str, str]) -> list[str]:
    return [part for key, value in options.items() for part in (f"--{key}", value)]


def test_in_use(engine: Engine, daemon: Daemon, local: tuple[str, str]) -> None:
    """12.13: refused while a container runs, as --dry-run foretells, unless that may be stopped."""
    name, shown = local
    user = engine.background(f"{name}:/data", name=f"{name}-user")
    (told,) = daemon.told("adopt", "--from-docker-volume", name, "--dry-run")["Volumes"]
    assert told["Name"] == name
    assert told["Bytes"] > 0
    assert user.id[:12] in told["Note"]
    with pytest.raises(CommandError, match=f"in use by container {user.name}"):
        daemon.convoy("adopt", "--from-docker-volume", name)
    assert name not in daemon.names()
    user.reload()
    assert user.status == "running"
    (done,) = daemon.told("adopt", "--from-docker-volume", name, "--stop-containers")["Volumes"]
    user.reload()
    assert user.status == "exited"
    assert name in daemon.names()
    assert done["Bytes"] == told["Bytes"]
    # Docker's own is as it was: a container that is started now has still that.
    assert engine.inspect(name)["Driver"] == "local"
    assert engine.run(SHOW, f"{name}:/data") == shown


def test_next_steps(
    engine: Engine, daemon: Daemon, local: tuple[str, str], options: dict[str, str]
) -> None:
    """12.13: what it says to do next, typed as it stands, ends with the data in our volume."""
    name, shown = local
    user = engine.create(f"{name}:/data", name=f"{name}-user")
    asked = ("adopt", "--from-docker-volume", name, *flags(options))
    (done,) = daemon.told(*asked)["Volumes"]
    assert f"`docker volume rm {name}`" in done["Note"]
    docker(engine, "rm", user.name)
    docker(engine, "volume", "rm", name)
    docker(engine, "volume", "create", "--driver", daemon.name, name)
    assert engine.inspect(name)["Driver"] == daemon.name
    assert engine.inspect(name)["Status"]["backend"] == options["backend"]
    assert engine.run(SHOW, f"{name}:/data") == shown
    engine.restart()
    assert engine.inspect(name)["Driver"] == daemon.name


def test_other_name(engine: Engine, daemon: Daemon, local: tuple[str, str]) -> None:
    """12.13: under another name both can be used side by side; a name that is taken is refused."""
    name, shown = local
    daemon.convoy("adopt", "--from-docker-volume", name, "--as", f"{name}-new")
    with pytest.raises(CommandError, match=f"{name}-new exists already"):
        daemon.convoy("adopt", "--from-docker-volume", name, "--as", f"{name}-new")
    engine.run("echo changed > /data/db/file", f"{name}:/data")
    assert engine.run(SHOW, f"{name}-new:/data") == shown
    assert engine.run("cat /data/db/file", f"{name}:/data") == "changed\n"


def test_project(engine: Engine, daemon: Daemon, name: str) -> None:
    """12.13: all local volumes of a compose project at once; a volume of ours cannot be adopted."""
    labels = {PROJECT: name}
    shown = {}
    for each in (f"{name}_data", f"{name}_logs"):
        engine.client.volumes.create(each, driver="local", labels=labels)
        shown[each] = prepared(engine, each)
    engine.create_volume(f"{name}_ours", daemon.name)
    user = engine.background(f"{name}_data:/data", labels=labels)
    asked = ("adopt", "--compose-project", name)
    with pytest.raises(CommandError, match=f"container {user.name}"):
        daemon.convoy(*asked)
    assert daemon.names() == [f"{name}_ours"]
    adopted = daemon.told(*asked, "--stop-containers")["Volumes"]
    assert [each["Name"] for each in adopted] == list(shown)
    assert sorted(daemon.names()) == [f"{name}_data", f"{name}_logs", f"{name}_ours"]
    engine.clear_containers()
    for each, expected in shown.items():
        docker(engine, "volume", "rm", each)
        assert engine.run(SHOW, f"{each}:/data", volume_driver=daemon.name) == expected
    with pytest.raises(CommandError, match=f"one of {daemon.name}"):
        daemon.convoy("adopt", "--from-docker-volume", f"{name}_ours", "--as", f"{name}-x")


def test_release(engine: Engine, daemon: Daemon, name: str, options: dict[str, str]) -> None:
    """12.13: once the containers are gone that --dry-run names, Docker has it as its own."""
    engine.create_volume(name, daemon.name, options)
    shown = prepared(engine, name)
    user = engine.create(f"{name}:/data", name=f"{name}-user")
    (told,) = daemon.told("release", name, "--dry-run")["Volumes"]
    assert user.name in told["Note"]
    with pytest.raises(CommandError, match=f"container {user.name}"):
        daemon.convoy("release", name)
    assert engine.inspect(name)["Driver"] == daemon.name
    docker(engine, "rm", user.name)
    (done,) = daemon.told("release", name)["Volumes"]
    assert (done["Name"], done["DockerVolume"]) == (name, name)
    assert name not in daemon.names()
    found = engine.inspect(name)
    assert (found["Driver"], found["Labels"]) == ("local", {"kept": "yes"})
    assert engine.run(SHOW, f"{name}:/data") == shown
    assert [volume.name for volume in engine.client.volumes.list()] == [name]
    engine.restart()
    assert engine.run(SHOW, f"{name}:/data") == shown
    # And back again, from the trash: the two can be used side by side.
    daemon.convoy("trash", "restore", name, "--as", f"{name}-back")
    assert engine.run(SHOW, f"{name}-back:/data") == shown


def test_killed_while_it_releases(engine: Engine, daemon: Daemon, name: str) -> None:
    """12.13: ours is as it was, and the next daemon takes away what was half made under Docker."""
    engine.create_volume(name, daemon.name)
    shown = prepared(engine, name)
    engine.run("dd if=/dev/zero of=/data/large bs=1M count=400", f"{name}:/data")
    with ThreadPoolExecutor(1) as pool:
        released = pool.submit(daemon.convoy, "release", name)
        until(lambda: _half_made(engine), "a copy that has begun")
        daemon.kill()
        with pytest.raises(CommandError):
            released.result()
    assert engine.volume_names() != [name]
    daemon.start()
    until(lambda: not any((daemon.root / "releasing").iterdir()), "nothing half made")
    assert engine.volume_names() == [name]
    assert engine.inspect(name)["Driver"] == daemon.name
    engine.run("rm /data/large", f"{name}:/data")
    assert engine.run(SHOW, f"{name}:/data") == shown


def _half_made(engine: Engine) -> bool:
    return any(name.startswith("convoy-release-") for name in engine.volume_names())


def test_release_of_a_project(engine: Engine, daemon: Daemon, name: str) -> None:
    """12.13: all of its volumes or none; another's are not touched."""
    labels = {PROJECT: name}
    shown = {}
    for each in (f"{name}_data", f"{name}_logs"):
        engine.client.volumes.create(each, driver=daemon.name, labels=labels)
        shown[each] = prepared(engine, each)
    engine.create_volume(f"{name}_other", daemon.name)
    user = engine.background(f"{name}_logs:/data", labels=labels)
    asked = ("release", "--compose-project", name)
    with pytest.raises(CommandError, match=f"container {user.name}"):
        daemon.convoy(*asked)
    assert len(daemon.names()) == 3
    engine.clear_containers()
    released = daemon.told(*asked)["Volumes"]
    assert [each["Name"] for each in released] == list(shown)
    assert daemon.names() == [f"{name}_other"]
    for each, expected in shown.items():
        assert engine.inspect(each)["Labels"] == labels
        assert engine.run(SHOW, f"{each}:/data", volume_driver="local") == expected


def docker(engine: Engine, *arguments: str) -> Any:
    return command.run(["docker", *arguments], DOCKER_HOST=f"unix://{engine.home}/docker.sock")
