"""Forks `convoy` on order, from a process that has all of its modules loaded.

`python -m` this with a socket as stdin. An order is one message there: arguments and environment,
in JSON, with three descriptors: the command's two outputs, and a socket on which its pid is told,
and its exit code once it has ended. The server ends with the orders.
"""

import gc
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

# All are loaded late by the commands; here before the fork.
import pydantic  # noqa: F401

import convoy_py.daemon
import convoy_py.service  # noqa: F401
from convoy_py.__main__ import main
from convoy_py.cli.app import convoy

_LONGEST = 1 << 17  # bytes of an order


def _serve(orders: socket.socket) -> dict[str, Any]:
    """Fork at each order; returns in the process that was forked, with what was ordered."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for who tells of a command
    while True:
        message, passed, *_ = socket.recv_fds(orders, _LONGEST, 3)
        if not message:
            sys.exit()
        if os.fork() == 0:
            orders.close()
            *outputs, ends = passed
            _tell_of_a_child(outputs, ends)
            _take(outputs)
            order: dict[str, Any] = json.loads(message)
            return order
        _close(passed)


def _tell_of_a_child(outputs: list[int], ends: int) -> None:
    """Fork once more, and return in the child; the parent tells its pid, and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (pid := os.fork()) == 0:
        os.close(ends)
        return
    _close(outputs)
    _tell(ends, pid)
    _tell(ends, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _tell(ends: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(ends, str(number).encode())


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _take(outputs: list[int]) -> None:
    """Have the first three descriptors, and no more, as a command has."""
    os.open(os.devnull, os.O_RDWR)  # as 0, which is free
    os.set_inheritable(0, True)
    for fd, output in enumerate(outputs, 1):
        os.dup2(output, fd)
        os.close(output)


def _become(order: dict[str, Any]) -> None:
    """Be what a new process of the command would be."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["convoy", *order["arguments"]]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it tells how the commands end
    for command in convoy.commands.values():
        command.load()  # type: ignore[attr-defined]
    gc.freeze()  # a collection would write to, and so copy, all that a child shares with us
    _become(_serve(socket.socket(fileno=sys.stdin.fileno())))
    main()
