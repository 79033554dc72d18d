"""Signals: an orderly end or nothing at all, from the first moment on."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crash.contents import read_canary
from tests.crash.tracing import child, injected, waits_in
from tests.crash.volumes import CONTAINER, CONTENT, KINDS, Stage, bring
from tests.harness import Daemon, Unanswered, eventually
from tests.launches import Launch, environment, launch_plain
from tests.loops import LAUNCHES

pytestmark = pytest.mark.root

_LONG = "delay_enter=30000000"  # microseconds
_A_WHILE = "delay_enter=1000000"
_MACHINE = os.uname().machine
_FTRUNCATE = {"x86_64": 77, "aarch64": 46}[_MACHINE]

_END = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGPWR, signal.SIGXCPU)
_NOTHING = (
    *(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM),
    *(signal.SIGPROF, signal.SIGIO, signal.SIGSTKFLT, signal.SIGPIPE, signal.SIGXFSZ),
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """One that is started as a service is: by exec."""
    daemon.launch = launch_plain
    return daemon


@pytest.mark.parametrize("number", _END, ids=lambda number: number.name)
def test_a_signal_ends_in_order(daemon: Daemon, number: signal.Signals) -> None:
    """What is at work is completed and acknowledged, and no socket is left that nobody serves."""
    daemon.start()
    with injected(daemon, "ftruncate", _A_WHILE), ThreadPoolExecutor(1) as pool:
        create = pool.submit(daemon.create, "v", **KINDS["ext4"])
        eventually(lambda: waits_in(daemon.pid, _FTRUNCATE), "it is being made")
        daemon.signal(number)
        create.result()
        assert daemon.gone() == 0  # a strace that is to let go of who is about to end may hang
    assert not daemon.plugin_socket.exists()
    assert not daemon.admin_socket.exists()


@pytest.mark.parametrize("launch", LAUNCHES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
def test_a_signal_right_after_the_start(
    daemon: Daemon, number: signal.Signals, launch: Launch
) -> None:
    """While the server is still being loaded it is not otherwise: an orderly end, or nothing."""
    daemon.start(launch)  # returns when the sockets are open
    daemon.signal(number)
    if number == signal.SIGHUP:
        assert daemon.listed() == {}
        daemon.signal(signal.SIGTERM)
    assert daemon.gone() == 0
    assert not daemon.plugin_socket.exists()
    assert not daemon.admin_socket.exists()


def test_other_signals_do_nothing(daemon: Daemon) -> None:
    """All whose default is to end a process, and none of them reaches what the daemon starts."""
    daemon.start()
    bring(daemon, "v", KINDS["ext4"], Stage.MOUNTED)
    for number in _NOTHING:
        os.kill(daemon.pid, number)
    assert read_canary(daemon.mount("v", CONTAINER)) == CONTENT
    eventually(lambda: "SIGUSR1 does nothing" in daemon.log.read_text(), "it is told")
    with injected(daemon, "pwrite64", _LONG), ThreadPoolExecutor(1) as pool:
        create = pool.submit(daemon.create, "new", **KINDS["ext4"])
        program = eventually(lambda: child(daemon.pid, "mke2fs"), "mkfs is at work")
        ours = _ignored(os.getpid())
        assert _ignored(program) - ours <= {signal.SIGPIPE, signal.SIGXFSZ}
        daemon.kill()
        with pytest.raises(Unanswered):
            create.result()


def test_what_a_shell_had_ignored_stays_ignored(daemon: Daemon) -> None:
    """`convoy daemon &` in a script is not ended by the Ctrl-C that is meant for another."""

    def in_background(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "convoy_py", *arguments]
        with log.open("ab") as output:
            return subprocess.Popen(
                ["sh", "-c", "trap '' INT QUIT; exec \"$@\"", "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=environment(),
            )

    daemon.start(in_background)
    assert daemon.listed() == {}
    for number in (signal.SIGINT, signal.SIGQUIT):
        daemon.signal(number)
        assert daemon.listed() == {}
    assert daemon.stop() == 0


def _ignored(pid: int) -> set[int]:
    """The signals that a process ignores."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.partition("SigIgn:")[2].split()[0], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
