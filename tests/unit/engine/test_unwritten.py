"""What is in memory of images counts, and nothing that merely looks like it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from convoy_py.backends.base import Place
from convoy_py.engine.memory.entry import Entry
from convoy_py.engine.memory.unwritten import Unwritten
from convoy_py.models.volume import Spec
from convoy_py.state.records import References
from tests.fakes_kernel import FakeBackend, FakeKernel


class _Backend(FakeBackend):
    """`aheads` by name: what is answered; none: it is there no more."""

    def __init__(self, aheads: Mapping[str, int | None]) -> None:
        super().__init__(FakeKernel())
        self._aheads = aheads

    def ahead(self, place: Place) -> int | None:
        if place.name not in self._aheads:
            raise FileNotFoundError(place.name)
        return self._aheads[place.name]


def _looks(
    *aheads: Mapping[str, int | None], in_memory: int = 10**9, snapshots: str = ""
) -> list[int]:
    """What is found, one look after the other; those with `snapshots` have 70 bytes."""
    unwritten = Unwritten(lambda: in_memory, little=0)
    found = []
    for each in aheads:
        backend = _Backend(each)
        entries = [Entry(name, References(boot="boot"), backend=backend) for name in "ab"]
        for entry in entries:
            home = Path("/nowhere") / entry.name
            entry.place = Place(entry.name, "", home, home, Spec(backend="fake", size=70))
            if entry.name in snapshots:
                entry.snapshots["s"] = Entry("s", References(boot="boot"))
        found.append(unwritten.look(entries))
    return found


def test_what_is_written_waits_until_the_image_has_it() -> None:
    assert _looks({"a": 0}, {"a": 100}, {"a": 150}, {"a": 30}, {"a": 0}) == [0, 100, 150, 30, 0]


def test_what_a_filesystem_has_for_itself_hides_nothing() -> None:
    """Its journal, say; nor do blocks that were given back in it, but not to the host."""
    assert _looks({"a": -500}, {"a": -400}, {"a": -500}) == [0, 100, 0]
    assert _looks({"a": 0}, {"a": -300}, {"a": -200}) == [0, 0, 100]


def test_no_more_waits_than_is_in_memory() -> None:
    """What is set aside in an image is not written."""
    assert _looks({"a": 0}, {"a": 1000}, in_memory=40) == [0, 40]


def test_images_count_together_and_only_while_they_are_there() -> None:
    looks = _looks({"a": 10, "b": 20}, {"a": 10, "b": None}, {"b": 5}, {"a": 7})
    assert looks == [30, 10, 5, 7]


def test_without_images_memory_is_not_looked_at() -> None:
    def fail() -> int:
        pytest.fail("it was looked at")

    assert Unwritten(fail).look([]) == 0


def test_while_hardly_anything_is_in_memory_no_image_is_looked_at() -> None:
    """What was seen before counts on: what is written then adds to it."""
    memory = iter([100, 10, 100])
    backend = _Backend({"a": -20})
    entry = Entry("a", References(boot="boot"), backend=backend)
    home = Path("/nowhere")
    entry.place = Place("a", "", home, home, Spec(backend="fake"))
    unwritten = Unwritten(lambda: next(memory), little=10)

    def unasked(_: Place) -> int:
        pytest.fail("it was looked at")

    assert unwritten.look([entry]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "ahead", unasked)
        assert unwritten.look([entry]) == 0
    entry.backend = _Backend({"a": 30})
    assert unwritten.look([entry]) == 50


@pytest.mark.parametrize(("source", "waiting"), [(None, 0), ("db", 70)])
def test_blocks_that_its_source_has_too_count(source: str | None, waiting: int) -> None:
    """Of a clone; what overwrites them takes new ones."""
    entry = Entry("a", References(boot="boot"), backend=_Backend({"a": 0}))
    home, spec = Path("/nowhere"), Spec(backend="fake", size=70, source=source)
    entry.place = Place("a", "", home, home, spec)
    assert Unwritten(lambda: 10**9).look([entry]) == waiting


def test_blocks_that_a_snapshot_has_too_count_while_something_waits() -> None:
    """To write over them takes new ones of the host, and holds no more than before."""
    assert _looks({"a": 0, "b": 0}, {"a": 0, "b": 9}, snapshots="a") == [70, 79]
    assert _looks({"a": 0}, in_memory=40, snapshots="a") == [40]
    assert _looks({"a": 0}, in_memory=0, snapshots="a") == [0]
    assert _looks({"a": None}, snapshots="a") == [0]
