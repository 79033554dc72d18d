"""Tells the world of runs: a webhook of those that failed, and a dead man's URL that all is well.

The URLs may be secrets: they are in no log and in no answer. Nothing here keeps a run waiting.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from convoy_py.engine.running.threads import Threads
from convoy_py.logs import event
from convoy_py.models.schedule import FinishedRun, Task

log = logging.getLogger("convoy.webhooks")

# Seconds: for what ends together, for one try, and between two of them.
_GATHER, _TRY, _PAUSES = 1.0, 10.0, (2.0, 10.0)
# What goes on failing is told again after so many seconds.
_REMIND = 86400.0
_LONGEST, _TOLD_RUNS = 2**16, 10
NTFY = "ntfy:"
_HIGH, _NORMAL = 4, 3  # as ntfy counts, up to 5


class Webhooks:
    """A listener of runs.

    `clock` gives seconds that never go back, `volumes` the uuids of those that there are; in
    `threads` files are read.
    """

    def __init__(
        self,
        webhook: SecretStr | None,
        ping: SecretStr | None,
        host: str,
        clock: Callable[[], float],
        volumes: Callable[[], Collection[str]],
        threads: Threads,
        *,
        gather: float = _GATHER,
        pauses: Sequence[float] = _PAUSES,
    ) -> None:
        self._webhook = webhook
        self._ping = ping
        self._host = host
        self._clock = clock
        self._volumes = volumes
        self._threads = threads
        self._gather = gather
        self._pauses = pauses
        self._ended: list[FinishedRun] = []
        self._failing: dict[tuple[str, Task, str], float] = {}  # and when that was last told

    async def __call__(self, run: FinishedRun) -> None:
        """Tell of a run that has ended, together with those that end in the same second."""
        self._ended.append(run)
        await asyncio.sleep(self._gather)
        runs, self._ended = self._ended, []
        told = [each for each in runs if self._is_news(each)]
        if told and self._webhook:
            await self._send("webhook", self._webhook, _message(self._host, told))
        backed_up = any(run.task is Task.BACKUP and not run.error for run in runs)
        there = self._volumes()  # one that is gone would fail for good
        self._failing = {key: told for key, told in self._failing.items() if key[0] in there}
        if backed_up and not self._failing and self._ping:
            await self._send("ping", self._ping, None)

    def _is_news(self, run: FinishedRun) -> bool:
        """Whether to tell of it: a first failure, one that lasts for days, or the end of those."""
        key = (run.volume_id, run.task, run.repository)
        if not run.error:
            self._failing.pop(key, None)
            return run.works_again
        now = self._clock()
        told = self._failing.get(key)
        if not run.is_first_failure and told is not None and now - told < _REMIND:
            return False
        self._failing[key] = now
        return True

    async def _send(self, setting: str, address: SecretStr, message: dict[str, Any] | None) -> None:
        """Try a few times; that it fails is told in the log alone."""
        failure: Exception | None = None
        for pause in (0.0, *self._pauses):
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(_TRY):
                    if await _sent(await self._threads.run(_url, address), message):
                        return
            except (aiohttp.ClientError, OSError, ValueError) as error:
                failure = _Unsent(_reason(error))
        event(log, logging.WARNING, f"{setting} failed", failure=failure)


class _Unsent(Exception):
    """Why, without the URL."""


async def _sent(url: str, message: dict[str, Any] | None) -> bool:
    """Whether it was heard; raises what aiohttp does.

    A redirect is a failure: the server that was named is told, whatever it says of others, and to
    most of them aiohttp would come with an empty GET.
    """
    how: dict[str, Any] = {"json": message}
    if url.startswith(NTFY) and message:
        url = url.removeprefix(NTFY)
        headers = {"Title": message["title"], "Priority": str(message["priority"])}
        how = {"data": message["message"].encode(), "headers": headers}
    method = "POST" if message else "GET"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, **how, allow_redirects=False, raise_for_status=_check),
    ):
        return True


async def _check(response: aiohttp.ClientResponse) -> None:
    if not 200 <= response.status < 300:
        raise aiohttp.ClientResponseError(
            response.request_info, response.history, status=response.status
        )


def _url(address: SecretStr) -> str:
    """The URL, or what a file has that is named instead; raises OSError, ValueError."""
    text = address.get_secret_value()
    if text.startswith("/"):
        with Path(text).open(encoding="utf-8") as file:
            text = file.read(_LONGEST).strip()
    return text


def _reason(error: Exception) -> str:
    """What went wrong, in words in which no URL is."""
    match error:
        case aiohttp.ClientResponseError():
            return f"status {error.status}"
        case aiohttp.ClientConnectorError():
            return error.os_error.strerror or "no connection"
        case aiohttp.InvalidURL() | ValueError():
            return "it is no URL"
        case TimeoutError():
            return "no answer in time"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return type(error).__name__


def _message(host: str, runs: Sequence[FinishedRun]) -> dict[str, Any]:
    failed = [run for run in runs if run.error]
    if len(runs) == 1:
        (run,) = runs
        what = f"{run.task} of {run.volume} {'failed' if run.error else 'works again'}"
    else:
        what = f"{len(failed)} failed" if failed else "all works again"
        what += f", {len(runs) - len(failed)} work again" if 0 < len(failed) < len(runs) else ""
    lines = [_line(run) for run in (*failed, *(run for run in runs if not run.error))]
    more = [f"and {len(lines) - _TOLD_RUNS} more"] if len(lines) > _TOLD_RUNS else []
    return {
        "title": f"convoy on {host}: {what}",
        "message": "\n".join([*lines[:_TOLD_RUNS], *more]),
        "priority": _HIGH if failed else _NORMAL,
        "host": host,
        "runs": [run.model_dump(mode="json") for run in runs],
    }


def _line(run: FinishedRun) -> str:
    into = f" in {run.repository}" if run.repository else ""
    outcome = f"failed: {run.error}" if run.error else f"works again: {run.what}"
    return f"{run.task} of {run.volume}{into} {outcome}"
