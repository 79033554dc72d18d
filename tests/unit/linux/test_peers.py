"""Processes at the other end of a socket, and whether they are still the same."""

import os
import socket
import subprocess
from pathlib import Path

from convoy_py.linux import peers


def test_peer_of_a_socket_is_who_connected() -> None:
    """Process, user and group of the other end."""
    one, other = socket.socketpair()
    with one, other:
        assert peers.peer(one) == peers.Peer(os.getpid(), os.getuid(), os.getgid())


def test_process_has_a_start_until_it_ends() -> None:
    """A process is told from another one that has its pid by when it started."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        start = peers.start_time(child.pid)
        assert start is not None
        assert start == peers.start_time(child.pid)
        own = peers.start_time(os.getpid())
        assert own is not None
        assert own <= start
    assert peers.start_time(child.pid) is None


def test_command_with_blanks_and_parentheses_does_not_confuse() -> None:
    """A process may call itself anything."""
    before = peers.start_time(os.getpid())
    comm = Path("/proc/self/comm")
    name = comm.read_text()
    try:
        comm.write_text("a) R 1 (b")
        assert peers.start_time(os.getpid()) == before
    finally:
        comm.write_text(name.strip())


def test_boot_id_is_a_uuid_that_stays() -> None:
    """The same text while the machine is up."""
    assert len(peers.boot_id()) == 36
    assert peers.boot_id() == peers.boot_id()


def test_mount_namespace_is_named() -> None:
    """Of ourselves by either name; of a process that is not there, None."""
    own = peers.mount_namespace()
    assert own is not None
    assert own.startswith("mnt:[")
    assert own == peers.mount_namespace(os.getpid())
    assert peers.mount_namespace(2**22 + 1) is None
