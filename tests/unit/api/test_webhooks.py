"""Who is told of runs, and how often; that nobody hears it costs nobody anything."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from convoy_py.api.webhooks import Webhooks
from convoy_py.engine.running.threads import Blocking
from convoy_py.models.schedule import Task
from tests.fakes_backups import FAILED

CANARY = "canary-0123456789"
DAY = 86400.0
STILL = FAILED.model_copy(update={"failures": 2, "failed_before": 1})
GOOD = FAILED.model_copy(update={"error": "", "failures": 0, "what": "URL"})
AGAIN = GOOD.model_copy(update={"failed_before": 2})
OTHER = FAILED.model_copy(update={"volume": "web", "volume_id": "2"})
THERE = (FAILED.volume_id, "2", *(f"v{n}" for n in range(20)))  # volumes


class Heard:
    """What a server was told; it fails so many times before it hears."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.fails = 0
        self.leads: str | None = None  # to where, instead
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        is_json = request.content_type == "application/json"
        self.requests.append(
            (request.method, request.path, await request.json() if is_json else body)
        )
        self.headers.append(dict(request.headers))
        if self.leads:
            raise web.HTTPFound(self.leads)
        self.fails -= 1
        return web.Response(status=500 if self.fails >= 0 else 200)

    @property
    def titles(self) -> list[str]:
        return [body["title"] for method, _, body in self.requests if method == "POST"]

    @property
    def pings(self) -> int:
        return sum(method == "GET" for method, _, _ in self.requests)


@pytest.fixture
async def heard() -> AsyncIterator[Heard]:
    found = Heard()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"{site.name.rstrip('/')}/{CANARY}"
    yield found
    await runner.cleanup()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def hooks(webhook: str, ping: str, clock: Clock, there: Collection[str] = THERE) -> Webhooks:
    return Webhooks(
        SecretStr(webhook),
        SecretStr(ping),
        "here",
        clock,
        lambda: there,
        Blocking(),
        gather=0.0,
        pauses=(0.0, 0.0),
    )


async def test_a_failure_and_its_end_are_told(heard: Heard, clock: Clock) -> None:
    """Once, and once a day as long as it lasts; the dead man's URL is asked if nothing fails."""
    tell = hooks(heard.url, heard.url, clock)
    for run in (GOOD, FAILED, STILL, STILL):
        await tell(run)
    assert heard.titles == ["convoy on here: backup of db failed"]
    assert heard.pings == 1
    _, _, body = heard.requests[-1]
    assert (body["priority"], body["host"]) == (4, "here")
    assert body["message"] == "backup of db in offsite failed: no route to host"
    assert body["runs"] == [FAILED.model_dump(mode="json")]
    clock.now += DAY
    for run in (STILL, OTHER, AGAIN):
        await tell(run)
    assert heard.titles[1:] == [
        "convoy on here: backup of db failed",
        "convoy on here: backup of web failed",
        "convoy on here: backup of db works again",
    ]
    assert heard.pings == 1, "the other one fails still"
    await tell(GOOD.model_copy(update={"volume": "web", "volume_id": "2", "failed_before": 1}))
    assert heard.pings == 2
    await tell(GOOD.model_copy(update={"task": Task.SNAPSHOT}))
    assert heard.pings == 2, "a snapshot is no backup"


async def test_what_a_volume_failed_of_that_is_gone_counts_no_more(
    heard: Heard, clock: Clock
) -> None:
    """Else the dead man's URL would never be asked again."""
    there = {FAILED.volume_id, "2"}
    tell = hooks(heard.url, heard.url, clock, there)
    await tell(OTHER)
    await tell(GOOD)
    assert heard.pings == 0
    there.remove(OTHER.volume_id)
    await tell(GOOD)
    assert heard.pings == 1


async def test_no_redirect_is_followed(
    heard: Heard, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It leads wherever the server likes, and a POST would arrive as an empty GET."""
    heard.leads = "/elsewhere"
    await hooks(heard.url, heard.url, clock)(FAILED)
    assert {(method, path) for method, path, _ in heard.requests} == {("POST", f"/{CANARY}")}
    assert "status 302" in str([vars(record) for record in caplog.records])


async def test_what_a_restart_forgot_is_told_again(heard: Heard, clock: Clock) -> None:
    """Rather than never."""
    await hooks(heard.url, heard.url, clock)(STILL)
    assert len(heard.titles) == 1


async def test_what_ends_together_is_one_message(heard: Heard, clock: Clock) -> None:
    """Such as all volumes of a repository that is away."""
    tell = hooks(heard.url, heard.url, clock)
    many = [FAILED.model_copy(update={"volume": f"v{n}", "volume_id": f"v{n}"}) for n in range(20)]
    await asyncio.gather(*(tell(run) for run in (AGAIN, *many)))
    assert heard.titles == ["convoy on here: 20 failed, 1 work again"]
    ((_, _, body),) = heard.requests
    assert len(body["runs"]) == 21
    assert body["message"].splitlines()[-1] == "and 11 more"


async def test_ntfy_is_told_in_its_own_way(heard: Heard, clock: Clock) -> None:
    """Title and priority are headers, and the message is text."""
    await hooks(f"ntfy:{heard.url}", heard.url, clock)(FAILED)
    ((method, path, body),) = heard.requests
    assert (method, path) == ("POST", f"/{CANARY}")
    assert body == "backup of db in offsite failed: no route to host"
    (headers,) = heard.headers
    assert headers["Title"] == "convoy on here: backup of db failed"
    assert headers["Priority"] == "4"


async def test_a_url_may_stand_in_a_file(heard: Heard, clock: Clock, tmp_path: Path) -> None:
    """It is read anew each time."""
    file = tmp_path / "url"
    tell = hooks(str(file), str(file), clock)
    await tell(GOOD)
    file.write_text(f"{heard.url}\n")
    await tell(GOOD)
    assert heard.pings == 1


async def test_it_is_tried_again_a_few_times(heard: Heard, clock: Clock) -> None:
    heard.fails = 2
    await hooks(heard.url, heard.url, clock)(FAILED)
    assert len(heard.titles) == 3


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "status 500"),
        (f"http://127.0.0.1:1/{CANARY}", "Connect call failed"),
        (f"http://{CANARY}@[::1", "it is no URL"),
        (f"/nowhere/{CANARY}", "No such file"),
    ],
)
async def test_what_nobody_hears_is_told_in_the_log_alone(
    heard: Heard, clock: Clock, caplog: pytest.LogCaptureFixture, url: str, reason: str
) -> None:
    """Without the URL, which may be a secret."""
    heard.fails = 100
    with caplog.at_level(logging.DEBUG):
        await hooks(url or heard.url, url or heard.url, clock)(FAILED)
    told = [record for record in caplog.records if record.name == "convoy.webhooks"]
    assert [record.message for record in told] == ["webhook failed"]
    assert CANARY not in repr([vars(record) for record in caplog.records])
    assert reason in str(vars(told[0]))
