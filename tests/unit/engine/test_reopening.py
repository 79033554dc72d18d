"""A root that was away is opened again when nothing stands against it."""

from pathlib import Path

from convoy_py.engine.reopening import Reopening
from convoy_py.models.volume import Options
from tests.fakes_engine import Engine


async def _nothing() -> None:
    """What is to be swept."""


async def test_what_works_on_a_volume_keeps_it(engine: Engine, tmp_path: Path) -> None:
    """The records are read again only once long work has ended: it has the volume in its hands."""
    await engine.volumes.create("db", Options())
    root, elsewhere = engine.store.root, tmp_path / "elsewhere"
    reopening = Reopening(engine.operations, engine.steps, engine.recovery, engine.trash, _nothing)
    entry = engine.operations.entry("db")
    async with (
        engine.operations.hold_idle("db") as held,
        engine.uses.steady("a copy", held, entry),
    ):
        root.rename(elsewhere)
        root.mkdir()
        await reopening.look()
        assert engine.store.presence.away
        root.rmdir()
        elsewhere.rename(root)
        await reopening.look()
        assert engine.operations.entry("db") is entry
        assert entry.doing
    await reopening.look()
    assert engine.operations.entry("db") is not entry
    assert not engine.store.presence.away
