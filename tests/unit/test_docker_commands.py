"""What is run in a container, through a stand-in for the SDK."""

from collections.abc import Iterator

import pytest

from convoy_py.docker_commands import DockerCommands
from convoy_py.errors import Cancelled, NotFound, OperationFailed, Unavailable
from tests.fakes_docker import Sdk, connected

WORDS = ("/bin/sh", "-c", "dump")


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sdk]:
    """The SDK's client of any engine; at the end every client must have been closed."""
    with connected(monkeypatch) as found:
        found.put("db")
        yield found


@pytest.fixture
def docker(sdk: Sdk) -> DockerCommands:
    return DockerCommands("unix:///run/docker.sock")


def test_a_command_is_run_to_its_end(sdk: Sdk, docker: DockerCommands) -> None:
    sdk.prints, sdk.runs_on = [b"done\n"], 2
    docker.execute("db", WORDS, 30.0)
    assert sdk.calls == ["execute db /bin/sh -c dump"]
    assert sdk.streams == []


def test_what_a_command_that_fails_printed_is_told(sdk: Sdk, docker: DockerCommands) -> None:
    """The last of it, of both streams, in one line."""
    sdk.code, sdk.prints = 2, [b"x" * 5000, b"cannot\n  dump: \xff\n", b""]
    with pytest.raises(OperationFailed, match=r"exit code 2: x+cannot dump: \\xff$") as caught:
        docker.execute("db", WORDS, 30.0)
    assert len(str(caught.value)) < 2100


def test_a_command_is_waited_for_so_long_alone(sdk: Sdk, docker: DockerCommands) -> None:
    """What it has printed by then is told; nothing stays open."""
    sdk.prints, sdk.hangs = [b"waiting for a lock"], True
    with pytest.raises(OperationFailed, match=r"it goes on after 0\.3 s: waiting for a lock"):
        docker.execute("db", WORDS, 0.3)
    assert sdk.streams == []


def test_a_command_is_not_waited_for_by_who_gave_up(sdk: Sdk, docker: DockerCommands) -> None:
    sdk.hangs = True

    def give_up() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        docker.execute("db", WORDS, 30.0, give_up)
    assert sdk.streams == []


def test_only_a_container_that_runs_runs_a_command(sdk: Sdk, docker: DockerCommands) -> None:
    sdk.put("old", state="exited")
    with pytest.raises(Unavailable, match="the container does not run: it is exited"):
        docker.execute("old", WORDS, 30.0)
    for name in ("gone", "../x"):
        with pytest.raises(NotFound):
            docker.execute(name, WORDS, 30.0)
    assert sdk.calls == []
