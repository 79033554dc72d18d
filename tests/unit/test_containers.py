"""Containers and Docker's own volumes, as seen through a stand-in for the SDK, and its failures."""

import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from docker.errors import NotFound as SdkNotFound

from convoy_py import containers
from convoy_py.containers import Container, DockerContainers
from convoy_py.errors import (
    ContainerRestarts,
    InvalidSetting,
    NotFound,
    OperationFailed,
    Unavailable,
    Unsupported,
)
from tests.fakes_docker import Answer, Sdk, connected, said, serving

PROJECT = "com.docker.compose.project"


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sdk]:
    """The SDK's client of any engine; at the end every client must have been closed."""
    with connected(monkeypatch) as found:
        yield found


@pytest.fixture
def docker(sdk: Sdk) -> DockerContainers:
    return DockerContainers("unix:///run/docker.sock")


REFUSED = APIError("500", explanation="OCI runtime\nerror")
VERSION = said("200 OK", {"ApiVersion": "1.41"})


# Who uses what


def test_users_are_those_that_are_alive(sdk: Sdk, docker: DockerContainers) -> None:
    """By the name of a volume; a bind mount of that text, another volume and the dead are not."""
    one = sdk.put("one", "db")
    two = sdk.put("two", "x", "uploads", state="paused")
    three = sdk.put("three", "db", state="restarting")
    sdk.put("four", "db", state="exited")
    sdk.put("five", "other")
    sdk.put("six")
    assert docker.users(["db", "uploads", "/db"]) == [one, two, three]
    assert docker.users([]) == []


def test_container_reads_as_a_phrase() -> None:
    """Its name and the short id, as users know them."""
    assert str(Container("0123456789abcdef" * 4, "db", "running")) == "container db (0123456789ab)"


def test_volumes_of_a_container(sdk: Sdk, docker: DockerContainers) -> None:
    """Each once, in order; one that is not there, or cannot be, is not found."""
    sdk.put("web", "b", "a", "b", state="exited")
    assert docker.volumes_of_container("web") == ["b", "a"]
    with pytest.raises(NotFound, match=r"^No such container: nope$"):
        docker.volumes_of_container("nope")
    for name in ("", "../volumes/db", "a/b", "a?b"):
        with pytest.raises(NotFound, match="no such container"):
            docker.volumes_of_container(name)


def test_volumes_of_a_project(sdk: Sdk, docker: DockerContainers) -> None:
    """Those of its containers, running or not, and those it made and nobody uses."""
    sdk.put("web", "shared", labels={PROJECT: "shop"}, state="exited")
    sdk.put("other", "foreign", labels={PROJECT: "shop2"})
    sdk.put_volume("shop_db", "convoy")
    sdk.known["shop_db"]["Labels"] = {f"{PROJECT}=shop": ""}
    assert docker.volumes_of_project("shop") == ["shared", "shop_db"]
    assert docker.volumes_of_project("nope") == []


# Pause


def test_paused_for_a_time(sdk: Sdk, docker: DockerContainers) -> None:
    """What runs is paused within, and runs after; what was paused stays so."""
    chosen = [
        sdk.put("one"),
        sdk.put("two", state="paused"),
        sdk.put("three", state="exited"),
        Container("gone", "gone", "running"),
        sdk.put("four"),
    ]
    with docker.paused(chosen):
        assert [sdk.state(name) for name in sdk.entries] == ["paused", "paused", "exited", "paused"]
    assert [sdk.state(name) for name in sdk.entries] == ["running", "paused", "exited", "running"]


def test_unpaused_after_a_failure_within(sdk: Sdk, docker: DockerContainers) -> None:
    """Also after an interrupt; the failure goes on to the caller."""
    with pytest.raises(KeyboardInterrupt), docker.paused([sdk.put("one")]):
        raise KeyboardInterrupt
    assert sdk.state("one") == "running"


def test_one_that_cannot_be_paused(sdk: Sdk, docker: DockerContainers) -> None:
    """It is named, nothing happens within, and those paused before it run again."""
    chosen = [sdk.put("one"), sdk.put("two"), sdk.put("three")]
    sdk.broken["pause two"] = REFUSED
    with (
        pytest.raises(OperationFailed, match=r"^container two \(two0{9}\) cannot be paused: OCI"),
        docker.paused(chosen),
    ):
        pytest.fail("two runs")
    assert [sdk.state(name) for name in sdk.entries] == ["running"] * 3


def test_one_that_restarts_cannot_be_paused(sdk: Sdk, docker: DockerContainers) -> None:
    """It might run again at the next moment, so it is not passed over, but told apart."""
    chosen = [sdk.put("one"), sdk.put("two", state="restarting")]
    with pytest.raises(ContainerRestarts) as caught, docker.paused(chosen):
        pytest.fail("two restarts")
    assert caught.value.container == chosen[1].id
    assert [sdk.state("one"), sdk.state("two")] == ["running", "restarting"]


def test_one_that_begins_to_run_just_then(sdk: Sdk, docker: DockerContainers) -> None:
    """Between the refusal and the look at why, its next life has begun: it is asked again."""
    chosen = [sdk.put("one", state="restarting")]
    sdk.meanwhile["inspect one"] = lambda: sdk.entries["one"].update(State="running")
    with docker.paused(chosen):
        assert sdk.state("one") == "paused"
    assert sdk.state("one") == "running"


def test_pause_without_an_answer(sdk: Sdk, docker: DockerContainers) -> None:
    """It may have been done all the same, so it is undone."""
    chosen = [sdk.put("one"), sdk.put("two")]
    sdk.broken["pause two"] = TimeoutError("timed out")
    with pytest.raises(Unavailable, match="did not answer in time"), docker.paused(chosen):
        pytest.fail("two runs")
    assert sdk.calls[-2:] == ["unpause one", "unpause two"]


def test_one_that_cannot_be_unpaused(sdk: Sdk, docker: DockerContainers) -> None:
    """The others are unpaused, and it is named."""
    sdk.broken["unpause one"] = REFUSED
    with (
        pytest.raises(OperationFailed, match=r"could not unpause container one .*; do it by hand"),
        docker.paused([sdk.put("one"), sdk.put("two")]),
    ):
        pass
    assert sdk.state("two") == "running"


def test_ended_while_it_was_paused(sdk: Sdk, docker: DockerContainers) -> None:
    """Killed, removed or unpaused by somebody: there is nothing left to undo."""
    with docker.paused([sdk.put("one"), sdk.put("two"), sdk.put("three")]):
        sdk.entries["one"]["State"] = "exited"
        sdk.entries["two"]["State"] = "running"
        del sdk.entries["three"]
    assert sdk.state("one") == "exited"


def test_two_failures(sdk: Sdk, docker: DockerContainers, caplog: pytest.LogCaptureFixture) -> None:
    """The first is told; that a container stays paused is in the log."""
    sdk.broken["unpause one"] = REFUSED
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(RuntimeError, match="disk"),
        docker.paused([sdk.put("one")]),
    ):
        raise RuntimeError("disk")
    assert "could not unpause container one" in caplog.text


# Stop and start


def test_stop_and_start(sdk: Sdk, docker: DockerContainers) -> None:
    """The youngest is stopped first and started last; those that do not run are left alone."""
    chosen = [
        sdk.put("young", started="2026-01-01T00:00:02Z"),
        sdk.put("dead", state="exited"),
        sdk.put("middle", started="2026-01-01T00:00:01.25Z", state="paused"),
        sdk.put("old", started="2026-01-01T00:00:01.2Z"),
        sdk.put("oldest", started="2026-01-01T00:00:01Z"),
        Container("gone", "gone", "running"),
    ]
    stopped = docker.stop(chosen, grace=3)
    assert sdk.calls == ["stop 3 young", "stop 3 middle", "stop 3 old", "stop 3 oldest"]
    sdk.calls.clear()
    docker.start(stopped)
    assert sdk.calls == [
        "start oldest",
        "start old",
        "start middle",
        "pause middle",  # as it was
        "start young",
    ]


def test_removed_while_the_others_are_stopped(sdk: Sdk, docker: DockerContainers) -> None:
    """It is no failure, and there is nothing to be started again."""
    chosen = [sdk.put("c1"), sdk.put("c2")]
    sdk.meanwhile["stop c2"] = lambda: sdk.entries.pop("c2")
    stopped = docker.stop(chosen)
    assert [container.name for container in stopped] == ["c1"]


@pytest.mark.parametrize("failure", [REFUSED, TimeoutError("timed out")])
def test_one_that_cannot_be_stopped(sdk: Sdk, docker: DockerContainers, failure: Exception) -> None:
    """Those that were stopped before it are started again, and itself if that is not known."""
    chosen = [sdk.put(f"c{n}", started=f"2026-01-01T00:00:0{n}Z") for n in range(3)]
    sdk.broken["stop c1"] = failure
    with pytest.raises((OperationFailed, Unavailable)):
        docker.stop(chosen)
    assert sdk.calls == ["stop 10 c2", "stop 10 c1", "start c1", "start c2"]


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"auto_remove": True}, "runs with --rm"),
        ({"labels": {"com.docker.swarm.service.name": "shop"}}, "belongs to the service shop"),
    ],
)
def test_no_stop_that_would_be_the_end(
    sdk: Sdk, docker: DockerContainers, extra: dict[str, Any], reason: str
) -> None:
    """A container that could not be started again is not stopped, nor is any other."""
    with pytest.raises(Unsupported, match=reason):
        docker.stop([sdk.put("one"), sdk.put("two", **extra)])
    assert sdk.calls == []


def test_start_goes_on(sdk: Sdk, docker: DockerContainers) -> None:
    """One that cannot be started does not keep the next from it; one that is gone stays so."""
    gone = Container("gone", "gone", "running")
    chosen = [gone, sdk.put("c1", state="exited"), sdk.put("c2", state="exited")]
    sdk.broken["start c1"] = REFUSED
    with pytest.raises(OperationFailed, match=r"^could not start container c1 .*OCI runtime") as up:
        docker.start(chosen)
    assert "gone" not in str(up.value)
    assert sdk.state("c2") == "running"


def test_what_a_container_needs_is_gone(sdk: Sdk, docker: DockerContainers) -> None:
    """A network that was removed is "not found" too, but the container is there."""
    sdk.broken["start c1"] = SdkNotFound("404", explanation="network shop not found")
    with pytest.raises(OperationFailed, match="network shop not found"):
        docker.start([sdk.put("c1", state="exited")])


@pytest.mark.parametrize("state", ["running", "paused", "restarting"])
def test_one_that_was_started_meanwhile(sdk: Sdk, docker: DockerContainers, state: str) -> None:
    """By its user, who may have paused it, too."""
    chosen = [sdk.put("c1", state=state)]
    docker.start([Container(chosen[0].id, "c1", "running")])
    assert sdk.state("c1") == ("running" if state == "restarting" else state)


# The SDK itself


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Answer], str]]:
    """Serves HTTP on a socket until the test ends; returns the host's name for it."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(serving(tmp_path / "docker.sock", answer))


@pytest.mark.parametrize("exists", [False, True])
def test_no_engine(tmp_path: Path, exists: bool) -> None:
    """Neither is a missing socket one, nor one on which nobody listens; it is said what to do."""
    path = tmp_path / "docker.sock"
    if exists:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
            stale.bind(str(path))
    with pytest.raises(Unavailable) as caught:
        DockerContainers(f"unix://{path}").users(["db"])
    reason = "Connection refused" if exists else "No such file or directory"
    assert str(caught.value) == (
        f"the Docker Engine at unix://{path} does not answer: {reason}; start it, or name its "
        "socket with the setting docker_host"
    )


def test_engine_that_hangs(serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A call ends after a time of its own."""
    monkeypatch.setattr(containers, "_QUICK_SECONDS", 0.05)
    host = serve(lambda path: VERSION if path == "/version" else None)
    with pytest.raises(Unavailable, match="did not answer in time"):
        DockerContainers(host).users(["db"])


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (said("500 Oops", {"message": "two\nlines"}), OperationFailed, "^two lines$"),
        (said("404 No", {"message": "no such thing"}), NotFound, "^no such thing$"),
        (said("200 OK", ["?"]), OperationFailed, "does not answer as a Docker Engine does"),
        (b"", Unavailable, "closed connection without response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n<", OperationFailed, "as a Docker Engine"),
    ],
    ids=["refused", "not found", "other JSON", "nothing", "no JSON"],
)
def test_answers_that_are_no_use(
    serve: Callable[[Answer], str], answer: bytes, error: type[Exception], text: str
) -> None:
    """Each becomes an error of ours, and leaves nothing open."""
    host = serve(lambda path: VERSION if path == "/version" else answer)
    with pytest.raises(error, match=text):
        DockerContainers(host).users(["db"])


@pytest.mark.parametrize("answer", [said("500 Oops", {}), said("200 OK", {}), b"", None])
def test_something_else_listens(
    serve: Callable[[Answer], str], answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not even tell its version is no engine."""
    monkeypatch.setattr(containers, "_QUICK_SECONDS", 0.05)
    host = serve(lambda path: answer)
    with pytest.raises(Unavailable, match=f"the Docker Engine at {host} (does|did) not answer"):
        DockerContainers(host).users(["db"])


@pytest.mark.parametrize("config", ['{"auths": {"x": 1}}', "[]", '{"HttpHeaders": 5}'])
def test_files_of_a_user_do_not_matter(
    serve: Callable[[Answer], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    """Nor do the variables of Docker's own command, beside DOCKER_HOST."""
    folder = tmp_path / ".docker"
    folder.mkdir()
    (folder / "config.json").write_text(config)
    monkeypatch.setenv("HOME", str(tmp_path))
    variables = {"CONFIG": str(folder), "TLS_VERIFY": "1", "API_VERSION": "9.9", "CONTEXT": "away"}
    for name, value in variables.items():
        monkeypatch.setenv(f"DOCKER_{name}", value)
    monkeypatch.setenv("ALL_PROXY", "socks5://nowhere:1")
    paths = []

    def answer(path: str) -> bytes:
        paths.append(path.partition("?")[0])
        return VERSION if path == "/version" else said("200 OK", [])

    host = serve(answer)
    assert DockerContainers(host).users(["db"]) == []
    monkeypatch.setenv("DOCKER_HOST", host)
    assert DockerContainers(None).users(["db"]) == []
    assert paths == ["/version", "/v1.41/containers/json"] * 2


@pytest.mark.parametrize("host", ["tcp://10.0.0.1:2375", "ssh://there", "/run/x", "unix://"])
def test_only_the_engine_of_this_host(host: str) -> None:
    """Its containers are meant, and those of another machine would be paused instead."""
    with pytest.raises(InvalidSetting, match="use unix:///PATH"):
        DockerContainers(host).users(["db"])


def test_the_sdk_is_not_loaded_until_it_is_needed() -> None:
    """It would take more memory than all that the daemon keeps of its volumes."""
    code = "import sys, convoy_py.containers; print({'docker', 'requests'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
