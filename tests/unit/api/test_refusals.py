"""What a client does wrong is told in the log, and cannot fill a disk with it."""

import logging
from collections.abc import Callable

import pytest

from convoy_py.api.recording import REFUSALS, Refusals
from convoy_py.logs import TextLines
from tests.unit.api.wire import Socket, answer_in


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was written from INFO on, ours and aiohttp's."""
    caplog.set_level(logging.INFO)
    return lambda: [
        TextLines().format(record) for record in caplog.records if record.name != "asyncio"
    ]


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /VolumeDriver.List HTTP/1.1\r\nno header\r\n\r\n",
        b"POST /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["tls", "header", "long line", "long header", "length"],
)
@pytest.mark.parametrize("edge", ["plugin", "admin"])
async def test_what_is_no_http_is_one_line_in_the_log(
    raw: bytes,
    edge: str,
    plugin: Socket,
    admin: Socket,
    counted: Callable[[], dict[str, float]],
    lines: Callable[[], list[str]],
) -> None:
    """No traceback, which is a kilobyte; and none at all once there were many in a minute."""
    socket = plugin if edge == "plugin" else admin
    for _ in range(REFUSALS + 5):
        answer = answer_in(await socket.exchange(raw))
        assert answer is not None
        assert answer.status == 400
    assert len(lines()) == REFUSALS
    assert all(" WARNING http api=" in line and len(line) < 500 for line in lines())
    api = "docker" if edge == "plugin" else "admin"
    assert counted()[f'api="{api}",operation="http",result="invalid"'] == REFUSALS + 5


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/VolumeDriver.Create", b"{"),
        ("/VolumeDriver.Create", b'{"Name":"' + b"x" * 60_000 + b'"}'),
        ("/VolumeDriver.Create", b" " * 70_000),
        ("/VolumeDriver.Mount", b'{"Name":"nosuch","ID":"x"}'),
    ],
    ids=["JSON", "name", "too large", "no such volume"],
)
async def test_what_is_refused_again_and_again_fills_no_disk(
    plugin: Socket, target: str, body: bytes, lines: Callable[[], list[str]]
) -> None:
    """So many lines of a bounded length in a minute."""
    for _ in range(REFUSALS + 5):
        await plugin.request(target, body)
    assert len(lines()) == REFUSALS
    assert max(map(len, lines())) < 4000


def test_the_next_minute_tells_what_was_left_out() -> None:
    """Of each operation by itself."""
    now = 100.0
    refusals = Refusals(lambda: now)
    told = [refusals.left_out("create") for _ in range(REFUSALS + 3)]
    assert told == [*[0] * REFUSALS, None, None, None]
    assert refusals.left_out("mount") == 0
    now += 60
    assert refusals.left_out("create") == 3
    assert refusals.left_out("create") == 0
