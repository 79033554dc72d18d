"""A daemon that was forked is, to the tests, what one is that was started as a program."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.crash.conftest import FLAGS
from tests.crash.disks import settled
from tests.harness import PATIENCE, Daemon, eventually
from tests.launches import launch_forked, launch_plain

pytestmark = pytest.mark.root

_OF_STATUS = ("Umask", "SigBlk", "SigIgn", "SigCgt", "CapEff", "NSpgid", "NSsid")
_ALARM = "anon_inode:[timerfd]"  # the last that it opens in the background


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Daemon]:
    """One that was forked before and runs meanwhile."""
    (folder := tmp_path / "other").mkdir()
    other = Daemon(folder, *FLAGS)
    other.start()
    yield other
    other.clean()


def test_a_fork_has_what_a_program_has(
    daemon: Daemon, other: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its descriptors, signals, limits, namespaces and environment of this moment; and no more."""
    seen = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.settimeout(PATIENCE)
        heard.bind(address := str(daemon.folder / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        for launch in (launch_plain, launch_forked):
            daemon.start(launch)
            assert heard.recv(100) == b"READY=1"
            settled(daemon)
            eventually(lambda: _ALARM in _opened(daemon), "it waits for what is due")
            seen.append(_lasting(daemon))
            daemon.kill()
    assert seen[0] == seen[1]
    assert other.listed() == {}


def test_the_end_of_each_is_told(daemon: Daemon, other: Daemon) -> None:
    """That of one while another goes on, and how it ended."""
    daemon.start()
    assert other.process is not None
    os.kill(daemon.pid, signal.SIGKILL)
    assert daemon.gone() == -signal.SIGKILL
    assert other.process.poll() is None
    assert other.stop() == 0


def _lasting(daemon: Daemon) -> dict[str, object]:
    """What is seen of it while no signal is blocked, as all are while a thread is started."""

    def seen() -> dict[str, object]:
        found = _seen(daemon)
        status = found["status"]
        assert isinstance(status, dict)
        return found if int(status["SigBlk"], 16) == 0 else {}

    return eventually(seen, "it blocks no signal")


def _opened(daemon: Daemon) -> list[str]:
    found = []
    for fd in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed just now
            found.append(os.readlink(fd))
    return found


def _seen(daemon: Daemon) -> dict[str, object]:
    process = Path(f"/proc/{daemon.pid}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    return {
        "standard": [os.readlink(process / f"fd/{fd}") for fd in range(3)],
        "descriptors": sorted(path for path in _opened(daemon) if not path.startswith("socket:")),
        "status": {key: status[key] for key in _OF_STATUS},
        "limits": (process / "limits").read_text(),
        "cgroup": (process / "cgroup").read_text(),
        "namespaces": {name.name: os.readlink(name) for name in (process / "ns").iterdir()},
        "folder": os.readlink(process / "cwd"),
        "niceness": os.getpriority(os.PRIO_PROCESS, daemon.pid),
    }
