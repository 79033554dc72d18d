"""Forks daemons on order, from a process that has all of their modules loaded.

`python -m` this with a socket as stdin. An order is one message there: what `Order` says, in JSON,
with two descriptors: the daemon's output, and a socket on which its pid is told, and its exit code
once it has ended. The server ends with the orders.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypedDict, cast
from unittest.mock import patch

from aiohttp import web
from pydantic import BaseModel

import convoy_py.cli.commands.daemon
import convoy_py.daemon
import convoy_py.service  # noqa: F401 - all are loaded late by the command; here before the fork
from convoy_py.__main__ import main
from convoy_py.api.rest import others
from convoy_py.api.routes import ROUTES
from convoy_py.engine.steps import sessions
from tests.crash.tripwire import Tripwire

_LONGEST = 1 << 17  # bytes of an order
_SESSION = Path(__file__).with_name("crash") / "faulty_session.py"


class Order(TypedDict):
    """The command line after the program's name, and what else a daemon has of its own.

    `tripwire` is the control file and the trace file of one that counts what it changes, and dies,
    or fails, at one thing; the sessions that it starts do the same. Without, it runs on asyncio's
    own loop.
    """

    arguments: list[str]
    environment: dict[str, str]
    tripwire: list[str]


def _serve(orders: socket.socket) -> Order:
    """Fork at each order; returns in the process that was forked, with what was ordered."""
    daemons: dict[int, tuple[int, int]] = {}  # by a pidfd: the pid, and where its end is told
    while True:
        for ready in select.select([orders.fileno(), *daemons], [], [])[0]:
            if ready in daemons:
                pid, ends = daemons.pop(ready)
                _tell(ends, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                _close(ready, ends)
                continue
            message, passed, *_ = socket.recv_fds(orders, _LONGEST, 2)
            if not message:
                sys.exit()
            output, ends = passed
            if (pid := os.fork()) == 0:
                _close(orders.detach(), ends, *daemons, *(each[1] for each in daemons.values()))
                _take_output(output)
                return cast("Order", json.loads(message))
            _tell(ends, pid)
            _close(output)
            daemons[os.pidfd_open(pid)] = pid, ends


def _warm_up() -> None:
    """Do once what each daemon would do at its start, or at its first request of a kind.

    That is: build the models, whose building is put off, and compile the patterns of the routes.
    """
    with suppress(ImportError):  # it may be missing
        import_module("uvloop")
    waiting = BaseModel.__subclasses__()
    while waiting:
        model = waiting.pop()
        model.model_rebuild()
        waiting += model.__subclasses__()
    router = web.UrlDispatcher()
    for route in (*ROUTES, *others(ROUTES)):
        router.add_route(route.endpoint.method, route.endpoint.path, _no_route)


async def _no_route(request: web.Request) -> web.Response:
    raise web.HTTPNotFound


def _tell(ends: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(ends, str(number).encode())


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _take_output(output: int) -> None:
    """Have the first three descriptors, and no more, as what is started with an output has."""
    os.open(os.devnull, os.O_RDWR)  # as 0, which is free
    for fd in (1, 2):
        os.dup2(output, fd)
    os.set_inheritable(0, True)
    os.close(output)


def _become(order: Order) -> None:
    """Be what a new process of the command would be."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["convoy", *order["arguments"]]
    if not order["tripwire"]:
        loaded: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
        loaded["uvloop"] = None
        return
    sys.dont_write_bytecode = True  # it would count
    control, trace = map(Path, order["tripwire"])
    Tripwire(control, trace).install()
    program = (sys.executable, str(_SESSION), *order["tripwire"])
    patch.object(sessions, "PROGRAM", program).start()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it tells how the daemons end
    _warm_up()
    gc.freeze()  # a collection would write to, and so copy, all that a child shares with us
    _become(_serve(socket.socket(fileno=sys.stdin.fileno())))
    main()
