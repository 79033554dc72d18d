"""A client's connection, as aiohttp serves it but for two things that hand-made clients do.

One that shuts its own half after the request, as `printf … | nc -U` does, gets its answer; and what
is no HTTP is one line in the log instead of a traceback.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from convoy_py.api.access import caller_of
from convoy_py.api.recording import Recorder
from convoy_py.errors import Invalid
from convoy_py.escapes import one_line
from convoy_py.linux.peers import is_hung_up

log = logging.getLogger("convoy.api")

# Seconds between two lines about connections that are not accepted.
_PERIOD_SECONDS = 60.0


class Shortage:
    """Hears what the loop has nobody to tell: that there is no descriptor left for a connection.

    Once a second asyncio tells it with a traceback for each place of the backlog; those connections
    wait there. All else is told as usual.
    """

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        message = str(context.get("message", ""))
        if "socket.accept()" not in message:
            # What is left of those tries when the daemon ends says nothing.
            if "_start_serving" not in message:
                loop.default_exception_handler(dict(context))
        elif loop.time() >= self._quiet_until:
            self._quiet_until = loop.time() + _PERIOD_SECONDS
            log.error("connections have to wait: %s", context.get("exception"))


class Connection(web.RequestHandler):
    """`recorder` is that of the edge."""

    def __init__(self, manager: web.Server, *, recorder: Recorder, **how: Any) -> None:
        super().__init__(manager, **how)
        self._recorder = recorder
        self._body: StreamReader = EMPTY_PAYLOAD  # of the last request that came
        self._is_last = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._body = self._messages[-1][1]

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio asks; aiohttp never says yes
        """Whether the connection stays open: for the answers to what came before the end."""
        idle = self._waiter is not None and not self._waiter.done() and not self._messages
        if idle or self.transport is None or is_hung_up(self.transport.get_extra_info("socket")):
            return False
        self._is_last = True
        if not self._body.is_eof():
            self._lingering_time = 0  # the rest will never come
            self._body.set_exception(web.RequestPayloadError("the client sends no more"))
        return True

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        answered = await super().finish_response(request, resp, start_time)
        if self._is_last and not self._messages:
            self.close()
        return answered

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what aiohttp does not understand; a fault of ours is told its way."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        text = one_line(f"not HTTP: {message or status}")
        self._recorder.record(
            "http", "", caller_of(request), 0.0, Invalid(text), level=logging.WARNING, change=False
        )
        response = web.Response(status=status, text=text)
        response.force_close()
        return response


class Server(web.Server):
    """Makes connections of ours."""

    def __call__(self) -> web.RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        # aiohttp offers no other way to choose the class of its connections.
        server.__class__ = Server
        return server
