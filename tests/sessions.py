"""Sessions as the daemon has them: a process for each task, whose locks are noted."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from convoy_py.models.session import Access, Request, Task

Noted = Callable[[subprocess.Popen[str], int], None]


def session(
    access: Access, task: Task, noted: Noted = lambda process, times: None
) -> tuple[dict[str, Any], list[str]]:
    """What it said last, and the locks that it left; `noted` is called whenever it tells some."""
    command = [sys.executable, "-m", "convoy_py.session"]
    locks, last, times = list(access.leftover_locks), dict[str, Any](), 0
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(Request(access=access, task=task).said() + "\n")
        process.stdin.flush()
        for line in process.stdout:
            last = json.loads(line)
            if last["event"] == "locks":
                locks, times = last["locks"], times + 1
                noted(process, times)
                process.stdin.write("\n")
                process.stdin.flush()
    return last, locks
