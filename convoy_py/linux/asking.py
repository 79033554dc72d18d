"""Asks what may never answer: in a thread beside, for some time, and not again before it has."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


@dataclass(slots=True)
class _Round(Generic[K, T]):
    """One thread's way through the questions, until the asker gives one of them up."""

    keys: Sequence[K]
    answers: SimpleQueue[T | Exception] = field(default_factory=SimpleQueue)
    given_up: bool = False


class Questions(Generic[K, T]):
    """One question that is put to many: one thread per look, and one for each that is silent."""

    def __init__(self, ask: Callable[[K], T], patience: float) -> None:
        """`patience` in seconds is for each that is asked; what `ask` raises is an answer, too."""
        self._ask = ask
        self._patience = patience
        self._lock = threading.Lock()
        self.silent: set[K] = set()  # were asked, and have not answered yet

    def answers(self, keys: Sequence[K]) -> Iterator[tuple[K, T | Exception]]:
        """What each answers, in order; who is silent, or falls silent now, is left out."""
        left = [key for key in keys if key not in self.silent]
        while left:
            one = _Round[K, T](left)
            threading.Thread(target=self._go, args=(one,), name="convoy-ask", daemon=True).start()
            left = []
            for number, key in enumerate(one.keys):
                try:
                    yield key, self._answer(one, key)
                except Empty:
                    left = [k for k in one.keys[number + 1 :] if k not in self.silent]
                    break

    def _answer(self, one: _Round[K, T], key: K) -> T | Exception:
        """The next answer of a round; raises Empty if `key`, whose it is, does not give it."""
        try:
            return one.answers.get(timeout=self._patience)
        except Empty:
            with self._lock:
                if not one.answers.empty():  # just now
                    return one.answers.get()
                one.given_up = True
                self.silent.add(key)
            raise

    def _go(self, one: _Round[K, T]) -> None:
        for key in one.keys:
            answer: T | Exception
            try:
                answer = self._ask(key)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
                answer = error
            with self._lock:
                if one.given_up:
                    self.silent.discard(key)
                    return
                one.answers.put(answer)
