"""Listening Unix sockets: made here or inherited from systemd, and the word that we are ready."""

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

# An engine that starts asks for every volume it knows at once, on a connection each.
BACKLOG = 4096
# The first file descriptor that systemd passes, see sd_listen_fds(3).
_FIRST_INHERITED = 3


def inherited() -> dict[Path, socket.socket]:
    """The listening Unix sockets that systemd opened for this process, by path."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    found = {}
    for fd in range(_FIRST_INHERITED, _FIRST_INHERITED + int(os.environ.get("LISTEN_FDS", "0"))):
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        found[Path(sock.getsockname())] = sock
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    return found


def listen(path: Path, group: int | None = None) -> socket.socket:
    """Listen on a new socket at `path`, open to root and the group alone from the first moment.

    A socket on which nobody listens any more is replaced: left behind, each of Docker's look-ups
    would wait 15 s for it. Raises OSError (EADDRINUSE) if somebody does.
    """
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    if _is_stale(path):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    umask = os.umask(0o177)
    try:
        sock.bind(str(path))
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(umask)
    restrict(path, group)
    sock.listen(BACKLOG)
    return sock


def restrict(path: Path, group: int | None) -> None:
    """Open a socket's file to root, and to a group (its gid) if there is one."""
    if group is not None:
        os.chown(path, 0, group)
        path.chmod(0o660)


def notify(state: str) -> None:
    """Tell systemd a state such as `READY=1`, see sd_notify(3); without systemd, nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(state.encode())


def _is_stale(path: Path) -> bool:
    """Whether a socket lies at `path` on which nobody listens."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
