"""Forks daemons on order; each counts what it changes on the host and dies, or fails, at one.

`python -m` this with a control file and a trace file; an order is a line of JSON on stdin, the
daemon's arguments and its log, and the answers are its pid and, when it has ended, its exit code.
The sessions that a daemon starts count as it does.
"""

import gc
import json
import os
import sys
from pathlib import Path
from unittest.mock import patch

import convoy_py.cli.commands.daemon
import convoy_py.service  # noqa: F401 - both are loaded late by the command; here before the fork
from convoy_py.__main__ import main
from convoy_py.engine.steps import sessions
from tests.crash.tripwire import Tripwire

_SESSION = Path(__file__).with_name("faulty_session.py")


def _become_daemon(arguments: list[str], log: str, wire: Tripwire) -> None:
    """Run the daemon in this process, which was forked for it; never returns."""
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for fd in (1, 2):
            os.dup2(output, fd)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        wire.install()
        program = (sys.executable, str(_SESSION), *map(str, wire.files))
        patch.object(sessions, "PROGRAM", program).start()
        sys.argv = ["convoy", *arguments]
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _serve(control: Path, trace: Path) -> None:
    wire = Tripwire(control, trace)
    sys.dont_write_bytecode = True  # it would count
    gc.freeze()  # a collection would write to, and so copy, all that a child shares with us
    for line in sys.stdin:
        arguments, log = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become_daemon(arguments, log, wire)
        _answer(pid)
        _answer(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]))
