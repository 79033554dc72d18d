"""Has a process that knows secrets leave none of its memory behind."""

from convoy_py.linux import libc

_PR_SET_DUMPABLE = 4


def dump_nothing() -> None:
    """Have this process write no core, whatever takes cores here. See prctl(2)."""
    libc.call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0, about="prctl")
