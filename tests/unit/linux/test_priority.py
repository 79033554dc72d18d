"""A process that gives way to others, in a process of its own: what it gives up is for good."""

import subprocess
import sys

_PROGRAM = """
from convoy_py.linux import priority
most = priority.bound_memory()
try:
    bytearray(most)
except MemoryError:
    print(open("/proc/self/oom_score_adj").read().strip(), priority.bound_memory() == most)
"""


def test_memory_has_a_bound_and_its_process_ends_first() -> None:
    program = [sys.executable, "-c", _PROGRAM]
    told = subprocess.run(program, check=False, capture_output=True, text=True)
    assert told.stdout == "500 True\n", told.stderr
