"""The only place that starts a process: no shell, a fixed environment, and no orphan ever."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C"}
_TOLD_LINES = 3

# A child must die with the daemon, or a restarted daemon could run a second mkfs on one image.
# setpriv arms PR_SET_PDEATHSIG with one more exec (below 1 ms). preexec_fn would save that, but
# runs Python between fork and exec, which can deadlock in a process with threads, and it makes
# subprocess give up vfork. The kernel sends the signal when the *thread* that started the child
# ends; `run` waits in that thread, so it outlives the child by construction. A daemon killed in
# the instant before setpriv has armed it leaves the child alive, so sweep before making anew.
_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


class ProcessFailed(OSError):
    """A program ended badly; the message is one line: program, exit status, end of its stderr.

    `status` is the exit status; negative if a signal ended the program.
    """

    def __init__(self, program: str, status: int, stdout: str, stderr: str) -> None:
        how = f"exit status {status}" if status >= 0 else f"signal {-status}"
        super().__init__(f"{program} failed with {how}: {_last_lines(stderr or stdout)}")
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


class ProgramTimedOut(TimeoutError):
    """A program ran for longer than it may; its whole process group was killed."""


def run(
    argv: Sequence[str],
    *,
    timeout: float = 60,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return its stdout; seconds in `timeout`.

    Raises ProcessFailed for an exit status other than 0, ProgramTimedOut (a TimeoutError) and
    FileNotFoundError if there is no such program.
    """
    path = _located(argv[0])
    with subprocess.Popen(
        [*_DIE_WITH_US, path, *argv[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**_ENVIRONMENT, **(environment or {})},
        cwd="/",
        process_group=0,
        encoding="utf-8",
        errors="backslashreplace",
    ) as child:
        try:
            stdout, stderr = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise ProgramTimedOut(f"{argv[0]} was killed after {timeout:g} s") from error
        finally:
            _end_group(child)
    if child.returncode:
        raise ProcessFailed(argv[0], child.returncode, stdout, stderr)
    return stdout


def _located(program: str) -> str:
    for folder in _PATH.split(":"):
        path = f"{folder}/{program}"
        if os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(f"program {program} is not installed")


def _end_group(child: subprocess.Popen[str]) -> None:
    # Until the leader is reaped its pid, which names the group, cannot be given to another.
    if child.returncode is None:
        os.killpg(child.pid, signal.SIGKILL)


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-_TOLD_LINES:]) or "it said nothing"
