"""Running programs: what they say, how they fail, and that none is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convoy_py.linux import process
from tests.harness import eventually


def test_output_is_returned() -> None:
    """A program's stdout comes back; it gets its arguments as they are, not through a shell."""
    assert process.run(["printf", "%s", "$HOME; *"]) == "$HOME; *"


def test_environment_is_fixed() -> None:
    """Nothing of the daemon's environment reaches a program but what is given."""
    lines = process.run(["env"], environment={"GIVEN": "1"}).splitlines()
    assert sorted(lines) == ["GIVEN=1", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]


def test_failure_tells_the_end_of_stderr_in_one_line() -> None:
    """The message names the program, its exit status and the last three lines that it said."""
    script = "for i in 1 2 3 4; do echo said $i >&2; echo >&2; done; exit 7"
    with pytest.raises(process.ProcessFailed) as caught:
        process.run(["sh", "-c", script])
    assert str(caught.value) == "sh failed with exit status 7: said 2; said 3; said 4"
    assert caught.value.status == 7


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo out; exit 1", "out"),
        ("echo out; echo err >&2; exit 1", "err"),
        ("exit 1", "it said nothing"),
    ],
)
def test_failure_tells_what_there_is_to_tell(script: str, told: str) -> None:
    """Of stdout only where stderr has nothing."""
    with pytest.raises(process.ProcessFailed, match=f"exit status 1: {told}$"):
        process.run(["sh", "-c", script])


def test_death_by_signal_is_told() -> None:
    """A program that a signal ended did not succeed."""
    with pytest.raises(process.ProcessFailed, match="signal 9"):
        process.run(["sh", "-c", "kill -9 $$"])


def test_missing_program_is_told() -> None:
    """A program that is not installed is FileNotFoundError with its name."""
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        process.run(["no-such-program"])


def test_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    """Neither the program nor what it started outlives the timeout."""
    script = f"sleep 600 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(process.ProgramTimedOut, match=r"sh was killed after 0\.5 s"):
        process.run(["sh", "-c", script], timeout=0.5)
    assert ended(int((tmp_path / "pid").read_text()))


def test_program_dies_with_the_daemon(tmp_path: Path) -> None:
    """When the process that runs it is killed, a program is killed too."""
    script = "echo $$ > new && mv new pid && read _ < fifo"
    body = f"""
from convoy_py.linux import process
process.run(["sh", "-c", "cd {tmp_path} && {script}"])
"""
    os.mkfifo(tmp_path / "fifo")
    # Opened for both, the fifo lets the program read without an end.
    with (
        open(os.open(tmp_path / "fifo", os.O_RDWR), "rb"),
        subprocess.Popen([sys.executable, "-c", body]) as daemon,
    ):
        until = time.monotonic() + 30
        while not (tmp_path / "pid").exists():
            assert time.monotonic() < until
            os.sched_yield()
        child = int((tmp_path / "pid").read_text())
        assert not ended(child, patience=0)
        daemon.kill()
        assert ended(child)


def test_descriptors_are_not_passed_on(tmp_path: Path) -> None:
    """A program gets none of ours, such as that of a lock, not even one made to be inherited."""
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        listed = process.run(["ls", "-l", "/proc/self/fd"])
    assert str(tmp_path / "lock") not in listed


def test_companion_is_talked_to_and_has_ended_after_the_block() -> None:
    """It reads what it is told, in a session of its own, and ends with its stdin."""
    script = "import os; print(os.getpid(), os.getsid(0), os.read(0, 9), flush=True); os.read(0, 9)"
    with process.companion([sys.executable, "-c", script]) as (orders, answers):
        os.write(orders, b"told")
        pid, session, told = os.read(answers, 99).decode().split()
    assert (session, told) == (pid, "b'told'")
    assert not Path(f"/proc/{pid}").exists()


def test_companion_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a while to do so, and no longer."""
    monkeypatch.setattr(process, "_FAREWELL_SECONDS", 0.1)
    script = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    with process.companion([sys.executable, "-c", script]) as (_, answers):
        pid = int(os.read(answers, 99))
    assert not Path(f"/proc/{pid}").exists()


def test_who_has_said_all_may_be_slow_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said counts, on a busy machine too; it is ended then."""
    monkeypatch.setattr(process, "_FAREWELL_SECONDS", 0.1)
    script = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    with process.conversation([sys.executable, "-c", script]) as talk:
        pid = int(next(talk.lines(lambda: None)))
    assert not Path(f"/proc/{pid}").exists()


def test_what_the_kernel_does_not_let_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As what waits for dead storage: nobody waits for it, and it is told when it is over."""
    monkeypatch.setattr(process, "_FAREWELL_SECONDS", 0.1)
    kill = os.killpg
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    script = (
        "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print(os.getpid(), flush=True); signal.pause()"
    )
    with process.conversation([sys.executable, "-c", script]) as talk:
        pid = int(next(talk.lines(lambda: None)))
    assert not talk.is_over
    kill(pid, signal.SIGKILL)
    eventually(lambda: talk.is_over, "it is over")


def test_companion_gets_none_of_our_descriptors(tmp_path: Path) -> None:
    """Not even one made to be inherited: a lock would outlive us, and a mount stay busy."""
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        script = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in range(9)"
        script += " if os.path.exists(f'/proc/self/fd/{n}')], flush=True)"
        with process.companion([sys.executable, "-c", script]) as (_, answers):
            assert str(tmp_path / "lock") not in os.read(answers, 9999).decode()


def ended(pid: int, patience: float = 10) -> bool:
    """Whether a process is gone, or dead and not yet reaped, within `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        if time.monotonic() > until:
            return False
        os.sched_yield()
