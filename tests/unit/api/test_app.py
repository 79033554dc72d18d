"""How the sockets behave as a whole: slow clients, and the end of the daemon."""

import asyncio

import pytest
from aiohttp import web

from convoy_py.api import app
from convoy_py.api.app import docker_app
from convoy_py.api.requests import READ_SECONDS
from convoy_py.linux.outside import Outside
from convoy_py.metrics import Metrics
from tests.fakes import NOW, FakeVerbs, FakeVolumes
from tests.unit.api.conftest import Serve
from tests.unit.api.wire import DOCKER, Socket, answer_in

MOUNT = {"Name": "db", "ID": "x"}


def _plugin(engine: FakeVolumes) -> web.Application:
    return docker_app(FakeVerbs(engine), Metrics("0"), lambda: NOW, Outside())


async def test_headers_that_do_not_come_are_given_up(
    serving: Serve, engine: FakeVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that dribbles its headers is cut off, as is one that says nothing."""
    monkeypatch.setattr(app, "READ_SECONDS", 0.05)
    plugin, _ = await serving(_plugin(engine))
    assert await plugin.exchange(f"POST /VolumeDriver.List HTTP/1.1\r\n{DOCKER}".encode()) == b""
    assert await plugin.exchange(b"") == b""


@pytest.mark.parametrize("body", [b'{"Name":"db","ID":"x"}', b"{"], ids=["good", "bad"])
async def test_who_only_stops_sending_gets_the_answer(
    plugin: Socket, engine: FakeVolumes, body: bytes
) -> None:
    """As hand-made clients do, long before the work is done; then the connection is closed."""
    engine.add("db")
    engine.gate.clear()
    asked = asyncio.create_task(plugin.half_closed(_mount(body)))
    if body != b"{":
        await engine.entered.wait()
    engine.gate.set()
    answer = answer_in(await asked)
    assert answer is not None
    assert answer.status == (200 if body != b"{" else 500)
    assert len(engine.holds) == (body != b"{")


async def test_each_request_before_the_end_is_answered(admin: Socket, engine: FakeVolumes) -> None:
    """And the connection, which could be kept, is closed at once after the last."""
    get = b"GET /v1/volumes HTTP/1.1\r\nHost: x\r\n\r\n"
    async with asyncio.timeout(READ_SECONDS / 2):
        assert (await admin.half_closed(get)).count(b"HTTP/1.1 200 OK") == 1
        assert (await admin.half_closed(get * 3)).count(b"HTTP/1.1 200 OK") == 3
        assert await admin.half_closed(b"") == b""


async def test_a_request_that_breaks_off_is_answered_at_once(plugin: Socket) -> None:
    """What is missing of its body will never come."""
    head = f"POST /VolumeDriver.Remove HTTP/1.1\r\n{DOCKER}Content-Length: 10\r\n\r\n{{"
    async with asyncio.timeout(READ_SECONDS / 2):
        answer = answer_in(await plugin.half_closed(head.encode()))
    assert answer is not None
    assert answer.json == {"Err": "request body broke off"}


async def test_who_hangs_up_after_all_is_gone(plugin: Socket, engine: FakeVolumes) -> None:
    """Though it had only stopped sending at first: its Mount is taken back."""
    engine.add("db")
    engine.gate.clear()
    _, writer = await asyncio.open_unix_connection(plugin.path)
    writer.write(_mount(b'{"Name":"db","ID":"x"}'))
    writer.write_eof()
    await engine.entered.wait()
    writer.close()
    await writer.wait_closed()
    engine.gate.set()
    async with asyncio.timeout(60):
        while not engine.released:
            await asyncio.sleep(0)
    assert engine.holds == []


async def test_calls_in_flight_are_answered_before_the_end(
    serving: Serve, engine: FakeVolumes
) -> None:
    """A stopping daemon takes no new calls and finishes those it has."""
    plugin, runner = await serving(_plugin(engine))
    engine.add("db")
    engine.gate.clear()
    waiting = asyncio.create_task(plugin.call("Mount", MOUNT))
    await engine.entered.wait()
    stopping = asyncio.create_task(runner.cleanup())
    while runner.sites:  # not listening any more
        await asyncio.sleep(0)
    engine.gate.set()
    assert (await waiting).status == 200
    await stopping


async def test_a_call_that_hangs_does_not_hold_up_the_end(
    serving: Serve, engine: FakeVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice aiohttp's time-out is the longest that a stop may take."""
    monkeypatch.setattr(app, "SHUTDOWN_SECONDS", 0.05)
    plugin, runner = await serving(_plugin(engine))
    engine.gate.clear()
    waiting = asyncio.create_task(plugin.request("/VolumeDriver.Mount", MOUNT))
    await engine.entered.wait()
    async with asyncio.timeout(60):
        await runner.cleanup()
    assert await waiting is None


def _mount(body: bytes) -> bytes:
    head = f"POST /VolumeDriver.Mount HTTP/1.1\r\n{DOCKER}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
