"""Who listens is told of runs of schedules, and troubles nobody."""

import asyncio

import pytest

from convoy_py.errors import Cancelled
from convoy_py.models.schedule import FinishedRun
from tests.fakes_backups import FAILED
from tests.fakes_engine import Engine

AGAIN = FAILED.model_copy(update={"error": "", "failures": 0, "failed_before": 1})


async def test_all_who_listen_are_told(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """Also where one of them fails."""
    heard: list[FinishedRun] = []

    async def broken(run: FinishedRun) -> None:
        raise ValueError(run.volume)

    async def listener(run: FinishedRun) -> None:
        heard.append(run)

    engine.announcing.listen(broken)
    engine.announcing.listen(listener)
    engine.announcing.tell(FAILED)
    engine.announcing.tell(AGAIN)
    await engine.settled()
    assert heard == [FAILED, AGAIN]
    assert "who was told of the backup of db failed" in caplog.text


@pytest.mark.parametrize("end", [Cancelled("enough"), asyncio.CancelledError()])
async def test_what_was_cancelled_by_hand_is_not_told(engine: Engine, end: BaseException) -> None:
    """Nor as a good one: it would ring the dead man's bell."""
    heard: list[FinishedRun] = []

    async def listener(run: FinishedRun) -> None:
        heard.append(run)

    engine.announcing.listen(listener)
    with pytest.raises(type(end)), engine.announcing.by_hand({"db": "1"}, "offsite"):
        raise end
    await engine.settled()
    assert heard == []


def test_what_calls_for_an_alarm_and_for_its_end() -> None:
    again_failed = FAILED.model_copy(update={"failures": 2, "failed_before": 1})
    good = AGAIN.model_copy(update={"failed_before": 0})
    runs = (FAILED, again_failed, AGAIN, good)
    assert [run.is_first_failure for run in runs] == [True, False, False, False]
    assert [run.works_again for run in runs] == [False, False, True, False]


async def test_who_is_slow_to_listen_keeps_no_call_waiting(engine: Engine) -> None:
    """Calls wait while a root is opened anew for what works on volumes, and for nothing else."""
    gate = asyncio.Event()

    async def slow(run: FinishedRun) -> None:
        await gate.wait()

    engine.announcing.listen(slow)
    engine.announcing.tell(FAILED)
    assert await engine.operations.pause(0)
    engine.operations.open(engine.entries.volumes)
    gate.set()
    await engine.settled()
