"""Whom the bench measures beside our daemon, and how it asks them."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from bench import rivals
from bench.rivals import Subject, as_engine, given
from bench.together import CallFailed, in_turns


def test_a_rival_is_given_by_name_socket_and_options() -> None:
    """The options are of the volumes that it makes."""
    assert given("go=/run/go.sock,size=1G,driver=vfs") == Subject(
        "go", Path("/run/go.sock"), {"size": "1G", "driver": "vfs"}
    )


@pytest.mark.parametrize("text", ["", "go", "go=", "=/x.sock", "go=x.sock", "go=/x.sock,size"])
def test_what_is_no_rival_is_told(text: str) -> None:
    """With what would be right."""
    with pytest.raises(ValueError, match=r"is not NAME=/path.sock"):
        given(text)


def test_an_engine_is_asked_in_its_own_words() -> None:
    """It has no calls that mount."""
    asked = rivals._to_engine("Remove", "db", {})
    assert asked.startswith(b"DELETE /volumes/db HTTP/1.1\r\n")
    body = rivals._to_engine("Create", "db", {}).partition(b"\r\n\r\n")[2]
    assert json.loads(body) == {"Name": "db", "Driver": "local"}
    with pytest.raises(CallFailed):
        rivals._to_engine("Mount", "db", {})


def test_a_plugin_is_asked_as_engines_do() -> None:
    """With the options of its volumes where they are made."""
    body = as_engine("Create", "db", {"size": "1G"}).partition(b"\r\n\r\n")[2]
    assert json.loads(body) == {"Name": "db", "Opts": {"size": "1G"}}


@pytest.fixture
def refusing_mounts(tmp_path: Path) -> Iterator[Path]:
    """The socket of a plugin that does all but mount."""
    path = tmp_path / "plugin.sock"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    thread = Thread(target=_serve, args=(listening,))
    thread.start()
    yield path
    listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    listening.close()


def _serve(listening: socket.socket) -> None:
    while True:
        try:
            one, _ = listening.accept()
        except OSError:
            return
        with one:
            asked = one.recv(1 << 16)
            status = b"500 No" if b"ount" in asked.split(b" ")[1] else b"200 OK"
            one.sendall(b"HTTP/1.1 " + status + b"\r\n\r\n{}")


def test_what_a_rival_cannot_do_is_found_out(refusing_mounts: Path) -> None:
    """And keeps nothing from the rest of the table."""
    subject = Subject("it", refusing_mounts)
    assert subject.able() == {"Create", "Remove"}
    assert subject.ask("Get", "db") == b"{}"


def test_calls_in_turns_are_series_by_name() -> None:
    """Each with as many times as there were turns."""
    order: list[str] = []
    turn = {name: lambda: order.append("x") for name in ("a", "b")}
    found = in_turns([turn] * 3)
    assert {name: len(each.seconds) for name, each in found.items()} == {"a": 3, "b": 3}
