"""Blocking work runs beside the loop and to its end."""

import asyncio
import threading

import pytest

from convoy_py.engine.blocking import LONG_THREADS, Blocking
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
