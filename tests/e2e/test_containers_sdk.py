"""What is told of a real engine's containers and volumes, and pausing and stopping them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy_py.containers import Container
from convoy_py.docker_volumes import Docker as Seen
from convoy_py.errors import NotFound, OperationFailed, Unavailable, Unsupported
from tests.e2e.daemon import Daemon
from tests.e2e.engine import LIVE, Engine, state
from tests.e2e.waiting import until

pytestmark = [pytest.mark.docker, pytest.mark.root]

PROJECT = {"com.docker.compose.project": "shop"}


@pytest.fixture
def docker(the_engine: Engine) -> Iterator[Engine]:
    """A running engine without containers and volumes; no daemon is needed."""
    the_engine.ensure_running()
    yield the_engine
    the_engine.ensure_running()
    the_engine.clear("local")


@pytest.fixture
def seen(docker: Engine) -> Seen:
    return Seen(f"unix://{docker.home}/docker.sock")


def test_users(docker: Engine, seen: Seen, tmp_path: Path) -> None:
    """12.15: those that run or are paused, by the volume's name; not who binds or has ended."""
    web = docker.background("data:/data", name="web")
    docker.background("data:/data", "more:/more", name="still").pause()
    docker.create("data:/data", name="new")
    docker.background(f"{tmp_path}:/data", "other:/other")
    found = {user.name: user for user in seen.users(["data", "absent"])}
    assert (set(found), found["still"].state) == ({"web", "still"}, "paused")
    assert found["web"] == Container(web.id, "web", "running")
    assert [user.name for user in seen.users(["more"])] == ["still"]
    assert sorted(seen.volumes_of_container("still")) == ["data", "more"]
    assert seen.volumes_of_container(web.id[:12]) == ["data"]
    with pytest.raises(NotFound, match="No such container: absent"):
        seen.volumes_of_container("absent")


def test_users_of_a_volume_of_ours(engine: Engine, daemon: Daemon, volume: str) -> None:
    """12.15: also one that has it by --volumes-from; asking calls nothing of the plugin."""
    first = engine.background(f"{volume}:/data")
    second = engine.background(volumes_from=[first.id])
    calls = daemon.calls(volume)
    sees = Seen(f"unix://{engine.home}/docker.sock")
    with sees.paused(sees.users([volume])):
        assert {user.id for user in sees.users([volume])} == {first.id, second.id}
    assert daemon.calls(volume) == calls


def test_paused(docker: Engine, seen: Seen) -> None:
    """12.15: nothing is written within; each is after it as before; one that ended is no error."""
    writes = "while :; do echo >>/data/log; sleep 0.01; done"
    writer = docker.background("data:/data", command=writes)
    log = Path(docker.inspect("data")["Mountpoint"]) / "log"
    still = docker.background("data:/data")
    still.pause()
    gone, removed = docker.background("data:/data"), docker.background("data:/data")
    users = seen.users(["data"])
    gone.stop()
    until(lambda: log.stat().st_size, "a first line")
    with seen.paused(users):
        assert [state(c) for c in (writer, still, gone, removed)] == [
            *["paused"] * 2,
            "exited",
            "paused",
        ]
        size = log.stat().st_size
        removed.remove(force=True)
        docker.run("sleep 0.2")
        assert log.stat().st_size == size
    assert [state(c) for c in (writer, still, gone)] == ["running", "paused", "exited"]
    until(lambda: log.stat().st_size > size, "another line")


def test_stop_and_start(docker: Engine, seen: Seen) -> None:
    """12.15: youngest first, then oldest first; paused ones too; what cannot return is refused."""
    names = ["one", "two", "three"]
    made = [docker.background("data:/data", name=name) for name in names]
    made[1].pause()
    ending = docker.background("data:/data", auto_remove=True)
    with pytest.raises(Unsupported, match="runs with --rm"):
        seen.stop(seen.users(["data"]))
    ending.remove(force=True)
    stopped = seen.stop(seen.users(["data"]), grace=1)
    assert [container.name for container in stopped] == names
    assert [state(container) for container in made] == ["exited"] * 3
    ends = [container.attrs["State"]["FinishedAt"] for container in made]
    assert ends == sorted(ends, reverse=True)
    seen.start(stopped)
    assert [state(container) for container in made] == ["running", "paused", "running"]
    starts = [container.attrs["State"]["StartedAt"] for container in made]
    assert starts == sorted(starts)


def test_one_that_does_not_start(docker: Engine, seen: Seen) -> None:
    """12.15: it is named with the engine's reason; the next one runs."""
    broken = docker.create(command=["/absent"])
    sound = docker.create(command=["sh", "-c", LIVE])
    chosen = [Container(container.id, container.name, "exited") for container in (broken, sound)]
    with pytest.raises(OperationFailed, match=rf"{broken.name} \({broken.id[:12]}\): .*absent"):
        seen.start(chosen)
    assert state(sound) == "running"


def test_docker_volumes(docker: Engine, seen: Seen, tmp_path: Path) -> None:
    """12.15: a project's volumes, used and made; where local ones lie; whose data is elsewhere."""
    docker.client.volumes.create("shop_data", labels=PROJECT)
    docker.client.volumes.create("shop_idle", labels=PROJECT)
    user = docker.background("shop_data:/data", "external:/more", labels=PROJECT)
    user.exec_run(["sh", "-c", "echo precious >/data/file"])
    assert seen.volumes_of_project("shop") == ["external", "shop_data", "shop_idle"]
    data, idle = seen.local_volumes_of_project("shop")
    assert (data.mountpoint / "file").read_text() == "precious\n"
    assert (data.name, data.labels, data.options) == ("shop_data", PROJECT, {})
    assert ([c.id for c in data.users], idle.users) == ([user.id], [])
    assert seen.local_volume("shop_data") == data
    bind = {"type": "none", "o": "bind", "device": str(tmp_path)}
    docker.client.volumes.create("bound", driver_opts=bind)
    with pytest.raises(Unsupported, match=f"bound is the folder {tmp_path}, not Docker's own"):
        seen.local_volume("bound")
    with pytest.raises(NotFound, match="absent"):
        seen.local_volume("absent")


def test_engine_that_is_away(docker: Engine, seen: Seen) -> None:
    """12.15: it is said which one, and when it is back nothing has to be done."""
    docker.create("data:/data", name="web")
    assert seen.volumes_of_container("web") == ["data"]
    docker.stop()
    with pytest.raises(Unavailable, match=f"the Docker Engine at unix://{docker.home}/docker.sock"):
        seen.volumes_of_container("web")
    docker.start()
    assert seen.volumes_of_container("web") == ["data"]


def test_commands(docker: Engine, seen: Seen) -> None:
    """12.15: run to their end; what fails tells what it printed, what takes too long goes on."""
    db = docker.background("data:/data", name="db")
    seen.execute(
        "db", ("/bin/sh", "-c", "echo one >/data/log; sleep 0.2; echo two >>/data/log"), 30.0
    )
    log = Path(docker.inspect("data")["Mountpoint"]) / "log"
    assert log.read_text() == "one\ntwo\n"
    with pytest.raises(OperationFailed, match=r"^exit code 3: out err$"):
        seen.execute("db", ("/bin/sh", "-c", "echo out; sleep 0.1; echo err >&2; exit 3"), 30.0)
    with pytest.raises(OperationFailed, match=r"exec: .*nosuch|nosuch.*not found"):
        seen.execute("db", ("nosuch",), 30.0)
    many = "head -c 300000 /dev/zero | tr '\\0' x; echo; echo last; exit 1"
    with pytest.raises(OperationFailed, match=r"x last$"):
        seen.execute(db.id, ("/bin/sh", "-c", many), 30.0)
    with pytest.raises(OperationFailed, match=r"^it goes on after 0\.5 s: begun$"):
        seen.execute("db", ("/bin/sh", "-c", "echo begun; sleep 60"), 0.5)
    db.pause()
    with pytest.raises(Unavailable, match="the container does not run: it is paused"):
        seen.execute("db", ("true",), 30.0)


def test_what_is_known_of_volumes(docker: Engine, seen: Seen) -> None:
    """12.16: a volume's labels, its containers' labels, and what their images are."""
    docker.client.volumes.create("data", labels={"a": "b"})
    docker.background("data:/data", name="web", labels={"convoy.backup.stop": "true"})
    docker.create("data:/data", name="new")
    known = seen.known(["data", "absent"])
    labels = [(user.name, user.labels["convoy.backup.stop"]) for user in known.users]
    assert labels == [("web", "true")]
    assert known.labels == {"data": {"a": "b"}}
    assert [digest.partition(":")[0] for digest in known.images["data"].values()] == ["sha256"]
