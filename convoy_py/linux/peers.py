"""Processes: who is at the other end of a socket, and whether a process is still that process."""

import select
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_UCRED = struct.Struct("=iII")
_START_TIME_AFTER_COMM = 19


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected; pid 0 if it lives in a pid namespace that we cannot see."""

    pid: int
    uid: int
    gid: int


def peer(sock: socket.socket) -> Peer:
    """Who connected to this Unix socket, as the kernel recorded it then."""
    return Peer(*_UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))


def is_hung_up(sock: socket.socket) -> bool:
    """Whether the other end is closed; not if it has only said that it sends no more."""
    poll = select.poll()
    poll.register(sock.fileno(), 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in parentheses and may itself hold blanks and parentheses.
    return int(stat.rpartition(b")")[2].split()[_START_TIME_AFTER_COMM])


def boot_id() -> str:
    """The kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def machine_id() -> str:
    """The id that this installation of a system keeps; empty where it has none."""
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def mount_namespace(pid: int | str = "self") -> str | None:
    """A name for the mount namespace of a process, such as mnt:[4026531841].

    None if the process ended, or may not be looked at.
    """
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
