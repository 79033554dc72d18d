"""Thirty-two calls at once on one volume end as if they had come one after the other."""

import asyncio
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convoy_py.errors import ConvoyError, VolumeInUse, VolumeNotFound
from convoy_py.models.volume import Options, State
from tests.fakes_engine import Engine, FakeKernel

IDS = ("a", "b", "c")
EPOCHS = ("1:1", "2:2")
_folders = count()

Call = tuple[str, str, str]  # operation, mount ID, epoch
CALLS = st.lists(
    st.tuples(
        st.sampled_from(("mount", "mount", "unmount", "unmount", "get", "remove")),
        st.sampled_from(IDS),
        st.sampled_from(EPOCHS),
    ),
    min_size=1,
    max_size=32,
)


@dataclass
class Model:
    """What the engine's contract says, in the fewest words. The clock stands still."""

    there: bool = True
    holds: dict[str, tuple[str, int]] = field(default_factory=dict)  # ID: (epoch, count)

    def apply(self, operation: str, mount_id: str, epoch: str) -> type[ConvoyError] | None:
        """Do one call; the error that it must end with."""
        if operation == "unmount":
            self._unmount(mount_id)
        elif operation != "get" and not self.there:
            return VolumeNotFound
        elif operation == "mount":
            before, number = self.holds.get(mount_id, (epoch, 0))
            self.holds[mount_id] = (epoch, number + 1 if before == epoch else 1)
        elif operation == "remove" and self.holds:
            return VolumeInUse
        elif operation == "remove":
            self.there = False
        return None

    def _unmount(self, mount_id: str) -> None:
        if mount_id in self.holds:
            epoch, number = self.holds.pop(mount_id)
            if number > 1:
                self.holds[mount_id] = (epoch, number - 1)

    @property
    def total(self) -> int:
        return sum(number for _, number in self.holds.values())


async def _called(engine: Engine, call: Call) -> type[BaseException] | None:
    operation, mount_id, epoch = call
    try:
        if operation == "mount":
            path = await engine.uses.mount("v", mount_id, epoch)
            assert path == str(engine.mountpoint("v") / "exposed")
        elif operation == "unmount":
            await engine.uses.unmount("v", mount_id)
        elif operation == "remove":
            await engine.volumes.remove("v")
        else:
            # What Get says meanwhile is whole: a mountpoint exactly if it says mounted.
            view = engine.volumes.get("v")
            assert (view.state is State.MOUNTED) == bool(view.mountpoint)
    except ConvoyError as error:
        return None if operation == "get" else type(error)
    return None


def _check(engine: Engine, model: Model) -> None:
    """Memory, disk and kernel agree with the model."""
    assert engine.is_mounted("v") == bool(model.holds)
    assert engine.counted("v") == model.total
    if not model.there:
        with pytest.raises(VolumeNotFound):
            engine.volumes.get("v")
        return
    view = engine.volumes.get("v")
    assert view.references == model.total
    assert (view.state is State.MOUNTED) == bool(model.holds)


async def _run(calls: list[Call], folder: Path, kernel: FakeKernel) -> None:
    engine = Engine(folder, kernel).start()
    try:
        await engine.volumes.create("v", Options())
        model = Model()
        results = await asyncio.gather(*(_called(engine, call) for call in calls))
        assert results == [model.apply(*call) for call in calls]
        await engine.operations.drain(5)
        _check(engine, model)
        if model.there:
            _check(engine := engine.restarted(), model)
        # Then everyone goes, and nothing is left.
        for mount_id, (_, number) in model.holds.items():
            for _ in range(number):
                await engine.uses.unmount("v", mount_id)
        assert kernel.mounted == {}
        if model.there:
            await engine.volumes.remove("v")
        assert kernel.count("destroy", "v") == 1
        assert list(engine.store.volumes.iterdir()) == []
    finally:
        engine.killed()


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(calls=CALLS)
def test_calls_at_once_are_as_good_as_in_turn(
    calls: list[Call], tmp_path: Path, kernel: FakeKernel
) -> None:
    """Whatever is called in whatever order, also by an engine that was restarted meanwhile."""
    kernel.calls.clear()
    asyncio.run(_run(calls, tmp_path / str(next(_folders)), kernel))
