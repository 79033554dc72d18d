"""Blocking work runs beside the loop and to its end."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from convoy_py.engine.running import threads as module
from convoy_py.engine.running.threads import (
    FEW_QUESTIONS,
    FEW_THREADS,
    LONG_THREADS,
    THREADS,
    Blocking,
)
from convoy_py.errors import Cancelled, NoAnswer
from convoy_py.linux import pulse
from tests.fakes_engine import Gate


async def test_the_result_comes_back() -> None:
    """Arguments go in, results and errors come out."""
    blocking = Blocking()
    assert await blocking.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await blocking.run(divmod, 7, 0)
    blocking.close()


async def test_it_does_not_run_in_the_loop() -> None:
    """Or every client would wait."""
    blocking = Blocking()
    assert await blocking.run(threading.current_thread) is not threading.current_thread()
    blocking.close()


async def test_long_work_takes_no_thread_from_the_rest() -> None:
    """However much of it is going on, a Mount finds a thread."""
    blocking, gate = Blocking(), Gate()
    long = [
        asyncio.create_task(blocking.run_long(gate.pass_through)) for _ in range(LONG_THREADS + 1)
    ]
    await asyncio.to_thread(gate.wait_for_call)
    assert await asyncio.wait_for(blocking.run(divmod, 7, 2), 5) == (3, 1)
    gate.open()
    await asyncio.gather(*long)
    blocking.close()


async def test_a_client_that_leaves_stops_nothing() -> None:
    """What went through the door ends by itself."""
    blocking, gate, ended = Blocking(), Gate(), threading.Event()

    def work() -> None:
        gate.pass_through()
        ended.set()

    task = asyncio.create_task(blocking.run(work))
    await asyncio.to_thread(gate.wait_for_call)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open()
    assert await asyncio.to_thread(ended.wait, 5)
    blocking.close()


async def test_closing_does_not_wait_for_what_hangs() -> None:
    """A daemon must be able to stop although storage does not answer."""
    blocking, gate = Blocking(), Gate()
    hanging = asyncio.create_task(blocking.run(gate.pass_through))
    await asyncio.to_thread(gate.wait_for_call)
    blocking.close()
    assert not hanging.done()
    gate.open()
    await hanging


@pytest.fixture
def storages(monkeypatch: pytest.MonkeyPatch) -> Iterator[Blocking]:
    """Two beside the root's: below /a, where a test lets things hang, and below /b."""
    monkeypatch.setattr(module, "_device", lambda path: path[:2])
    monkeypatch.setattr(module, "LITTLE_PATIENCE_SECONDS", 0.1)
    blocking = Blocking()
    yield blocking
    blocking.close()


async def test_other_storage_has_few_threads_of_its_own(storages: Blocking) -> None:
    """However much hangs there, the root's and those of a third storage are free."""
    gate, running = Gate(), []
    hanging = await storages.of("/a/one")
    assert hanging is await storages.of("/a/two")
    assert await storages.of(None) is storages

    def hang() -> None:
        running.append(1)
        gate.pass_through()

    calls = [asyncio.create_task(hanging.run(hang)) for _ in range(THREADS + 16)]
    await asyncio.to_thread(gate.wait_for_call)
    for threads in (storages, await storages.of("/b")):
        assert await asyncio.wait_for(threads.run(divmod, 7, 2), 5) == (3, 1)
    assert len(running) <= FEW_THREADS
    gate.open()
    await asyncio.gather(*calls)
    assert len(running) == THREADS + 16


async def test_question_without_an_answer_is_given_up_and_not_repeated(storages: Blocking) -> None:
    """Nor is another put to that storage; when the first has its answer, they are again."""
    gate, asked = Gate(), []
    hanging = await storages.of("/a")

    def hang() -> int:
        asked.append(1)
        gate.pass_through()
        return 1

    for about in ("v", "v", "w"):
        with pytest.raises(NoAnswer, match=f"{about}: its storage does not answer"):
            await hanging.ask(about, hang)
    assert len(asked) == 1
    assert await (await storages.of("/b")).ask("u", lambda: 2) == 2
    gate.open()
    await _answered(hanging)
    assert await hanging.ask("w", hang) == 1


async def test_question_leaves_threads_to_the_verbs(storages: Blocking) -> None:
    """At most so many are put at once; who comes later waits outside of the threads."""
    gate, asked = Gate(), []
    hanging = await storages.of("/a")

    def hang() -> None:
        asked.append(1)
        gate.pass_through()

    found = await asyncio.gather(
        *(hanging.ask(f"v{number}", hang) for number in range(10)), return_exceptions=True
    )
    assert all(isinstance(each, NoAnswer) for each in found)
    assert len(asked) == FEW_QUESTIONS < FEW_THREADS
    assert await asyncio.wait_for(hanging.run(divmod, 7, 2), 5) == (3, 1)
    gate.open()
    await _answered(hanging)


async def test_root_s_storage_is_asked_about_each_volume(storages: Blocking) -> None:
    """There one that does not answer says nothing of the others; it is not asked again itself."""
    gate, asked = Gate(), list[str]()

    def ask() -> None:
        asked.append("v")
        gate.pass_through()

    for _ in range(2):
        with pytest.raises(NoAnswer):
            await storages.ask("v", ask, 0.1)
    assert asked == ["v"]
    assert await storages.ask("w", lambda: 3, 0.1) == 3
    gate.open()
    await _answered(storages)


async def test_slow_is_not_silent(storages: Blocking) -> None:
    """What gets on may take its time; who was given up stops at its next step."""
    slow, stopped = await storages.of("/a"), threading.Event()

    def walk(seconds: float, steps: int) -> int:
        for _ in range(steps):
            time.sleep(seconds)
            try:
                pulse.beat()
            except Cancelled:
                stopped.set()
                raise
        return steps

    assert await slow.ask("v", lambda: walk(0.02, 15)) == 15
    with pytest.raises(NoAnswer):
        await slow.ask("v", lambda: walk(0.3, 15))
    assert await asyncio.to_thread(stopped.wait, 5)


async def test_errors_of_a_question_come_out(storages: Blocking) -> None:
    """As those of any call."""
    with pytest.raises(ZeroDivisionError):
        await storages.ask("v", lambda: 1 // 0)


async def _answered(threads: module.Threads) -> None:
    async with asyncio.timeout(60):
        while threads._silent.total():
            await asyncio.sleep(0.001)
