"""Asks what may never answer: in a thread beside, for some time, and not again before it has."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


@dataclass(slots=True)
class _Round(Generic[K, T]):
    """One thread's way through the questions, until the asker gives one of them up."""

    keys: Sequence[K]
    answers: list[T | Exception] = field(default_factory=list)
    heard: float = field(default_factory=monotonic)
    ended: threading.Event = field(default_factory=threading.Event)
    given_up: bool = False


class Questions(Generic[K, T]):
    """One question that is put to many: one thread per look, and one for each that is silent."""

    def __init__(self, ask: Callable[[K], T], patience: float) -> None:
        """`patience` in seconds is for each that is asked; what `ask` raises is an answer, too."""
        self._ask = ask
        self._patience = patience
        self._lock = threading.Lock()
        self.silent: set[K] = set()  # were asked, and have not answered yet

    def answers(self, keys: Sequence[K]) -> list[tuple[K, T | Exception]]:
        """What each answers, in order; who is silent, or falls silent now, is left out."""
        found: list[tuple[K, T | Exception]] = []
        left = [key for key in keys if key not in self.silent]
        while left:
            one = _Round[K, T](left)
            threading.Thread(target=self._go, args=(one,), name="convoy-ask", daemon=True).start()
            self._wait(one)
            count = len(one.answers)
            found += zip(left[:count], one.answers, strict=True)
            left = [key for key in left[count + 1 :] if key not in self.silent]
        return found

    def _wait(self, one: _Round[K, T]) -> None:
        """Wait for a round to end, or for one of its keys to be given up.

        It wakes us once: for each answer we would be in the way of the next.
        """
        while not one.ended.wait(max(0.0, one.heard + self._patience - monotonic())):
            with self._lock:
                is_late = monotonic() >= one.heard + self._patience
                if is_late and len(one.answers) < len(one.keys):  # not just now
                    one.given_up = True
                    self.silent.add(one.keys[len(one.answers)])
                    return

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
                one.answers.append(answer)
                one.heard = monotonic()
        one.ended.set()
