"""Listening sockets: whose they are, and that nobody else's is taken away."""

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from convoy_py.linux import sockets


def test_socket_on_which_nobody_listens_is_replaced(tmp_path: Path) -> None:
    """One on which somebody does is in use, and what is no socket is not deleted."""
    path = tmp_path / "run/socket"
    sockets.listen(path).close()
    assert stat.S_ISSOCK(path.lstat().st_mode)
    with sockets.listen(path) as listening:
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        with pytest.raises(OSError, match="in use") as caught:
            sockets.listen(path)
        assert caught.value.errno == errno.EADDRINUSE
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            listening.accept()[0].close()
    path.unlink()
    path.write_bytes(b"theirs")
    with pytest.raises(OSError, match="in use"):
        sockets.listen(path)
    assert path.read_bytes() == b"theirs"


def test_socket_is_opened_to_its_group_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the group's before its mode lets a group in; without one nobody gets in."""
    path, owners, modes = tmp_path / "socket", [], []
    path.touch()
    monkeypatch.setattr(os, "chown", lambda _, uid, gid: owners.append((uid, gid)))
    monkeypatch.setattr(Path, "chmod", lambda _, mode: modes.append((mode, list(owners))))
    sockets.restrict(path, None)
    assert (owners, modes) == ([], [])
    sockets.restrict(path, 42)
    assert modes == [(0o660, [(0, 42)])]


def test_state_is_told_to_systemd_if_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a path or an abstract address; that nobody listens is no failure."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    sockets.notify("READY=1")
    for address, bound in (
        (f"{tmp_path}/notify", f"{tmp_path}/notify"),
        (f"@{tmp_path}/notify", f"\0{tmp_path}/notify"),
    ):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        sockets.notify("nobody listens")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(bound)
            systemd.setblocking(False)
            sockets.notify("READY=1")
            assert systemd.recv(64) == b"READY=1"


def test_sockets_of_another_process_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who started us may have forgotten to take its variables away."""
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    assert sockets.inherited() == {}
    assert os.environ["LISTEN_FDS"] == "1"
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "0")
    assert sockets.inherited() == {}
    assert "LISTEN_PID" not in os.environ
