"""The only place that starts a process: no shell, a fixed environment, no orphan by accident."""

import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C"}
_TOLD_LINES = 3
_FAREWELL_SECONDS = 5
_LOOK_SECONDS = 0.5
_READ_SIZE = 2**16
_LONGEST_LINE = 2**28

# A child must die with the daemon, or a restarted daemon could run a second mkfs on one image.
# setpriv arms PR_SET_PDEATHSIG with one more exec (below 1 ms). preexec_fn would save that, but
# runs Python between fork and exec, which can deadlock in a process with threads, and it makes
# subprocess give up vfork. The kernel sends the signal when the *thread* that started the child
# ends; `run` waits in that thread, so it outlives the child by construction. A daemon killed in
# the instant before setpriv has armed it leaves the child alive, so sweep before making anew.
_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


class ProcessFailed(OSError):
    """A program ended badly; the message is one line: program, exit status, end of its stderr.

    `status` is the exit status; `signal` the one that ended the program, 0 if none did.
    """

    def __init__(self, program: str, status: int, stdout: str, stderr: str) -> None:
        self.status = max(0, status)
        self.signal = max(0, -status)
        how = f"signal {self.signal}" if self.signal else f"exit status {status}"
        super().__init__(f"{program} failed with {how}: {_last_lines(stderr or stdout)}")
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


@contextmanager
def companion(argv: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Run a program, by its whole path, beside the block; unlike all others it may outlive us.

    It has a session of its own and none of our descriptors. Yields those of two pipes: to its
    stdin, which ends with the block or with us, and from its stdout. After the block it has 5 s
    to end before it is killed.
    """
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
        bufsize=0,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield child.stdin.fileno(), child.stdout.fileno()
        finally:
            child.stdin.close()
            try:
                child.wait(_FAREWELL_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()


class Conversation:
    """A program that is spoken with in lines, and what it says."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        self._heard = b""

    @property
    def is_over(self) -> bool:
        """Whether the program has ended: what waits for dead storage may outlive its SIGKILL."""
        return self._child.poll() is not None

    def say(self, line: str) -> None:
        """Raises BrokenPipeError if it has ended."""
        assert self._child.stdin is not None
        self._child.stdin.write(line.encode() + b"\n")

    def lines(self, look: Callable[[], None]) -> Iterator[str]:
        """Each line that it says, until it closes its stdout; calls `look` twice a second or more.

        What `look` raises ends the conversation.
        """
        assert self._child.stdout is not None
        out = self._child.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            while True:
                look()
                if not selector.select(_LOOK_SECONDS):
                    continue
                more = os.read(out, _READ_SIZE)
                if not more:
                    return
                *lines, self._heard = (self._heard + more).split(b"\n")
                if len(self._heard) > _LONGEST_LINE:
                    raise OSError("a program says a line without an end")
                for line in lines:
                    yield line.decode(errors="backslashreplace")


@contextmanager
def conversation(argv: Sequence[str]) -> Iterator[Conversation]:
    """Run a program, by its whole path, and speak with it; it ends with the block, and with us.

    If the block raises it gets SIGTERM, and SIGKILL after 5 s; so does one that has not ended 5 s
    after the block, which has said what it had to say. What the kernel does not let end then is
    left behind: see `Conversation.is_over`. Raises ProcessFailed for an exit status
    other than 0, unless the block raises.
    """
    with tempfile.TemporaryFile() as told:
        # Not as a context, which would wait for its end without a limit.
        child = subprocess.Popen(
            [*_DIE_WITH_US, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            env=_ENVIRONMENT,
            cwd="/",
            process_group=0,
            bufsize=0,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield Conversation(child)
            child.stdin.close()
            child.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            _end(child)
            return
        except BaseException:
            _end(child)
            raise
        finally:
            child.stdin.close()
            child.stdout.close()
        if child.returncode:
            told.seek(0)
            said = told.read().decode(errors="backslashreplace")
            raise ProcessFailed(argv[0], child.returncode, "", said)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    for last in (False, True):
        try:
            child.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            if not last:
                os.killpg(child.pid, signal.SIGKILL)
        else:
            return


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
