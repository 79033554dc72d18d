"""The client against daemons that are absent, forbidden, silent, broken or newer."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from convoy_py.cli.client.calls import Client
from convoy_py.errors import ConvoyError, Kind, Unavailable
from convoy_py.wire.endpoints import INFO, INSPECT_VOLUME
from tests.unit.cli.conftest import Run, Told
from tests.unit.cli.fake_daemon import FakeDaemon, volume


@pytest.mark.parametrize("kind", Kind)
def test_the_daemons_error_arrives_as_its_kind(daemon: FakeDaemon, kind: Kind) -> None:
    """What the daemon raised is what the client raises, text and kind."""
    daemon.fail("GET", "/v1/info", "what happened", kind)
    with pytest.raises(ConvoyError, match=r"^what happened$") as caught:
        Client(daemon.path).ask(INFO)
    assert caught.value.kind is kind


def test_a_kind_of_a_newer_daemon_is_a_failure(daemon: FakeDaemon) -> None:
    """Its text is told all the same."""
    daemon.fail("GET", "/v1/info", "the moon is full", "lunar")
    with pytest.raises(ConvoyError, match="the moon is full") as caught:
        Client(daemon.path).ask(INFO)
    assert caught.value.kind is Kind.FAILED


def test_fields_of_a_newer_daemon_are_no_error(daemon: FakeDaemon) -> None:
    """The command on the host may be older than the plugin it drives."""
    newer = volume("a").model_dump(mode="json", by_alias=True) | {"Colour": "blue"}
    daemon.answer("GET", "/v1/volumes/a", json.dumps(newer).encode())
    assert Client(daemon.path).ask(INSPECT_VOLUME, of="a") == volume("a")


def test_no_socket(run: Run, told: Told) -> None:
    """The socket and the way out are named."""
    result = run("-s", "/nonexistent/c.sock", "list")
    assert result.exit_code == 8
    line = told(result)
    assert "/nonexistent/c.sock: No such file or directory" in line
    assert "--socket" in line


def test_a_socket_that_nobody_serves(run: Run, told: Told, tmp_path: Path) -> None:
    """A daemon that was killed leaves its socket."""
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    result = run("-s", str(path), "list")
    assert result.exit_code == 8
    assert "Connection refused" in told(result)


def test_a_path_too_long_for_a_socket(run: Run, told: Told) -> None:
    """The kernel takes 107 bytes; that is an error as any other."""
    result = run("-s", "/" + "x" * 200, "list")
    assert result.exit_code == 8
    assert "too long" in told(result)


@pytest.fixture
def forbidden(daemon: FakeDaemon) -> Iterator[None]:
    """The socket exists, and this process may not use it."""
    daemon.path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.usefixtures("forbidden")
def test_a_socket_one_may_not_use(run: Run, told: Told) -> None:
    """It is told apart from an absent daemon."""
    result = run("list")
    assert result.exit_code == 9
    assert "--socket-group" in told(result)


def test_a_daemon_that_is_busy(run: Run, daemon: FakeDaemon, told: Told) -> None:
    """503: still running, or still starting."""
    daemon.fail("GET", "/v1/volumes", "volume a: create is still running", Kind.UNAVAILABLE, 503)
    result = run("list")
    assert result.exit_code == 8
    assert told(result) == "volume a: create is still running"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"garbage"),
        (200, b""),
        (200, b'{"Volumes": 3}'),
        (200, b'{"Err": ""}'),
        (404, b"404: Not Found"),
        (502, b"<html>bad gateway</html>"),
        (503, b'{"Err": "no"}'),
    ],
)
def test_an_answer_that_is_not_ours(
    run: Run, daemon: FakeDaemon, told: Told, status: int, body: bytes
) -> None:
    """Such as that of Docker's plugin socket, or of a proxy."""
    daemon.answer("GET", "/v1/volumes", body, status)
    result = run("list")
    assert result.exit_code == 1
    assert f"answered {status} with something that is not convoy's" in told(result)


@pytest.mark.parametrize(
    ("command", "target", "body"),
    [
        ("inspect a", "/v1/volumes/a", b'{"Err": ""}'),
        ("list", "/v1/volumes", b'["Volumes"]'),
        ("list", "/v1/volumes", b'{"Volumes": {"a": "b"}}'),
        ("list --backend vfs", "/v1/volumes", b'{"Volumes": {"a": {"Driver": 3}}}'),
        ("snapshot list", "/v1/snapshots", b'{"Snapshots": {}}'),
        ("snapshot list", "/v1/snapshots", b'{"Snapshots": ["a@b"]}'),
        ("snapshot inspect a@b", "/v1/snapshots/a@b", b'{"Name": "b"}'),
    ],
)
def test_json_that_is_not_ours(
    run: Run, daemon: FakeDaemon, told: Told, command: str, target: str, body: bytes
) -> None:
    """Short commands, which load no model of the answer, tell it all the same."""
    daemon.answer("GET", target, body)
    result = run(*command.split())
    assert result.exit_code == 1
    assert "answered 200 with something that is not convoy's" in told(result)


def test_success_without_the_right_status_is_not_believed(
    run: Run, daemon: FakeDaemon, told: Told
) -> None:
    """A server that says 200 to everything has not deleted a volume."""
    daemon.answer("DELETE", "/v1/volumes/a", b"welcome")
    result = run("delete", "a")
    assert result.exit_code == 1
    assert "answered 200" in told(result)


def test_a_connection_that_ends_without_an_answer(run: Run, daemon: FakeDaemon, told: Told) -> None:
    """A daemon that died in the middle may have done the work: the user shall look."""
    daemon.answer("POST", "/v1/volumes", status=0)
    result = run("create", "a")
    assert result.exit_code == 8
    assert "without an answer" in told(result)


@pytest.mark.parametrize(
    ("answer", "code", "line"),
    [
        (b"220 mail.example.org\n", 1, "is not HTTP: b'220 mail.example.org"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", 8, "without an answer"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"Volumes": {}}', 8, "without an answer"),
    ],
)
def test_a_server_that_does_not_speak_http_to_the_end(
    run: Run, told: Told, tmp_path: Path, answer: bytes, code: int, line: str
) -> None:
    """It is named as such, in one line; nothing is shown of half an answer."""
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        server = threading.Thread(target=greet)
        server.start()
        result = run("-s", str(path), "list")
        server.join()
    assert result.exit_code == code
    assert line in told(result)


def test_a_daemon_that_is_silent(daemon: FakeDaemon) -> None:
    """The client gives up after its timeout and says that the work goes on."""
    daemon.may_answer.clear()
    with pytest.raises(Unavailable, match=r"gave no answer.*goes on"):
        Client(daemon.path, timeout=0.05).ask(INFO)


def test_debug_tells_each_exchange_on_stderr(run: Run, daemon: FakeDaemon) -> None:
    """stdout stays what it was."""
    daemon.answer("GET", "/v1/volumes/a", volume("a"))
    result = run("--debug", "inspect", "a")
    assert json.loads(result.stdout)["Name"] == "a"
    assert result.stderr.startswith("convoy: debug: GET /v1/volumes/a: 200, ")


def test_the_socket_of_the_flag_wins_over_the_environment(run: Run, daemon: FakeDaemon) -> None:
    """Flag before environment, as for every setting."""
    daemon.answer("GET", "/v1/volumes/a", volume("a"))
    elsewhere = {"CONVOY_SOCKET": "/nonexistent/c.sock"}
    assert run("-s", str(daemon.path), "inspect", "a", env=elsewhere).exit_code == 0
    assert run("inspect", "a", env=elsewhere).exit_code == 8
