"""A storage that does not answer is noticed, whichever call it holds up."""

from collections.abc import Callable
from threading import Event, Thread

import pytest

from convoy_py.restic.stores.base import Kind, Store
from convoy_py.session.watch import Watched
from tests.fakes_restic import MemoryStore

NAME = "ab" * 32
CALLS: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.read(Kind.PACK, NAME),
    "read a range": lambda store: store.read_range(Kind.PACK, NAME, 0, 1),
    "write": lambda store: store.write(Kind.PACK, NAME, [b"content"]),
    "list": lambda store: list(store.list(Kind.PACK)),
    "delete": lambda store: store.delete(Kind.PACK, NAME),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_that_is_not_answered_is_told_once(call: Callable[[Store], object]) -> None:
    """Though it never ends; those that are answered are not."""
    memory, silent, answered = MemoryStore(), Event(), Event()
    told: list[str] = []

    def hang(verb: str, kind: Kind, name: str) -> None:
        answered.wait()

    def tell(why: str) -> None:
        told.append(why)
        silent.set()

    watched = Watched(memory, 0.2, tell)
    watched.write(Kind.PACK, NAME, [b"content"])
    assert list(watched.list(Kind.PACK)) == [(NAME, 7)]
    memory.before = hang
    thread = Thread(target=call, args=(watched,))
    thread.start()
    try:
        assert silent.wait(30)
    finally:
        answered.set()
        thread.join()
        watched.close()
    (why,) = told
    assert "memory: waits to be" in why
    assert "has not answered for 0 s" in why
