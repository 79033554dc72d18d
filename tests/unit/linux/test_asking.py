"""What may never answer is asked once, and keeps nobody from the others."""

import math
import threading
from time import monotonic

import pytest

from convoy_py.linux import asking
from convoy_py.linux.asking import Questions
from tests.fakes_kernel import Gate, WatchedLock
from tests.harness import eventually


def test_everybody_answers_in_order() -> None:
    """Also who answers with an error."""

    def ask(key: int) -> int:
        if key == 2:
            raise RuntimeError("a circle of links")
        return key * 10

    first, second, third = Questions(ask, 10.0).answers([3, 2, 1])
    assert (first, third) == ((3, 30), (1, 10))
    assert isinstance(second[1], RuntimeError)


def test_the_silent_are_left_out_and_not_asked_again_before_they_answered() -> None:
    """However many there are; whoever comes after them is asked."""
    gate, asked = Gate(), []

    def ask(key: int) -> int:
        asked.append(key)
        if key in (2, 3):
            gate.pass_through()
        return key * 10

    questions = Questions(ask, 0.05)
    assert list(questions.answers([1, 2, 3, 4])) == [(1, 10), (4, 40)]
    assert questions.silent == {2, 3}
    assert list(questions.answers([1, 2, 3, 4])) == [(1, 10), (4, 40)]
    assert (asked.count(2), asked.count(3)) == (1, 1)
    gate.open()
    eventually(lambda: not questions.silent, "they have answered")
    assert len(list(questions.answers([1, 2, 3, 4]))) == 4


def test_an_answer_that_comes_as_its_asker_gives_up_comes_late() -> None:
    """It waits until that is decided; then nobody hears it, but it was an answer."""
    gate, lock = Gate(), WatchedLock()

    class Silent(set[int]):
        def add(self, key: int) -> None:
            super().add(key)
            gate.open()
            assert lock.awaited.wait(10), "nobody waits"

    def ask(key: int) -> int:
        gate.pass_through()
        return key

    questions = Questions(ask, 0.0)
    questions._lock, questions.silent = lock, Silent()  # type: ignore[assignment]
    assert questions.answers([1]) == []
    eventually(lambda: not questions.silent, "it has answered")


def test_who_answers_while_the_asker_wakes_up_is_not_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither the last of them, after whom nobody is left to be given up, nor who comes next."""
    asker, heard, first = threading.get_ident(), threading.Event(), Gate()

    class Lock(WatchedLock):
        def __enter__(self) -> None:
            if threading.get_ident() == asker:
                first.open()
                assert heard.wait(10), "nobody answers"
            super().__enter__()

        def __exit__(self, *error: object) -> None:
            super().__exit__(*error)
            heard.set()

    def answer(key: int) -> int:
        first.pass_through()
        return key

    questions = Questions(answer, 0.0)
    questions._lock = Lock()  # type: ignore[assignment]
    assert questions.answers([1]) == [(1, 1)]
    gate = Gate()

    def ask(key: int) -> int:
        if key == 2:
            gate.pass_through()
        return key

    late = [math.inf]

    def now() -> float:
        if threading.get_ident() != asker:
            return monotonic()
        if late:
            return late.pop()
        gate.open()
        return monotonic()

    monkeypatch.setattr(asking, "monotonic", now)
    assert Questions(ask, 10.0).answers([1, 2]) == [(1, 1), (2, 2)]
