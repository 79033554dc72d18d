"""One name, one operation at a time; different names never wait for each other."""

import asyncio

import pytest

from convoy_py.engine.running.locks import Locks


async def test_operations_on_one_name_come_one_after_the_other() -> None:
    """In the order in which they were asked for."""
    locks, order = Locks(), []

    async def work(number: int) -> None:
        async with locks.locked("a"):
            order.append(("in", number))
            await asyncio.sleep(0)
            order.append(("out", number))

    await asyncio.gather(*(work(number) for number in range(4)))
    assert order == [(step, number) for number in range(4) for step in ("in", "out")]


async def test_another_name_does_not_wait() -> None:
    """One that is stuck keeps nobody else."""
    locks = Locks()
    async with locks.locked("stuck"), asyncio.timeout(60), locks.locked("other"):
        assert locks.busy("stuck")
        assert locks.busy("other")


async def test_nothing_is_kept_of_names_of_the_past() -> None:
    """After the last holder, or one that failed or was cancelled, a name costs no memory."""
    locks = Locks()

    async def work() -> None:
        async with locks.locked("a"):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await work()
    async with locks.locked("a"):
        waiting = asyncio.create_task(work())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert locks.busy("a")
    assert not locks.busy("a")
    assert locks._locks == {}
