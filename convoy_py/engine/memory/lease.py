"""A host's right to be believed alive: renewed by itself, waited out and ended by the others.

The value of a host's register is `<incarnation>.<beat>.<seconds>`, where the seconds are for how
long it is good; `<incarnation>.fenced` once another host has ended that incarnation, and
`<incarnation>.left` once it went by itself. Either a fence or a renewal is swapped in, never both.

Invariant: while a host believes itself alive nobody has fenced it. It counts from before it sent
its renewal; whoever fences it counts from after having read that, and a tenth longer. So whatever
storage keeps in caches, delays or repeats, the holder's deadline comes first. All that is asked of
clocks is that they run at the same rate within a tenth; each is compared with itself alone. They
run on in suspend (CLOCK_BOOTTIME).
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Protocol

from convoy_py.errors import Corrupt, Unavailable
from convoy_py.linux import files

LEASE_SECONDS = 30
# How much longer than the lease is waited before an incarnation counts as over.
MARGIN_TIMES = 1.1
# How often a value is read again that others, or late answers, have changed meanwhile.
ATTEMPTS = 4
# Of how many values of its own a lease knows that they are: more than a read can be old.
_REMEMBERED = 64


_NUMBER = "(0|[1-9][0-9]*)"
_TERM = re.compile(rf"{_NUMBER}\.(?:{_NUMBER}\.{_NUMBER}|(fenced|left))")


class Registered(Protocol):
    """A register as `state/register.py` has it, wherever it lies."""

    def read(self) -> str: ...

    def swap(self, old: str, new: str) -> bool: ...


class Ending(StrEnum):
    """How an incarnation can have come to its end."""

    FENCED = "fenced"
    LEFT = "left"


@dataclass(frozen=True)
class Term:
    """A value of a host's register."""

    incarnation: int
    beat: int = 0  # another one with every attempt; see `_beat`
    seconds: int = LEASE_SECONDS
    ending: Ending | None = None

    def __str__(self) -> str:
        if self.ending is not None:
            return f"{self.incarnation}.{self.ending}"
        return f"{self.incarnation}.{self.beat}.{self.seconds}"

    @classmethod
    def parsed(cls, text: str) -> "Term":
        """Raises Corrupt."""
        match = _TERM.fullmatch(text)
        if match is None:
            raise Corrupt(f"{text!r} is no value of a host's lease")
        incarnation, beat, seconds, ending = match.groups()
        if ending is not None:
            return cls(int(incarnation), ending=Ending(ending))
        return cls(int(incarnation), int(beat), int(seconds))

    def is_over(self, incarnation: int) -> bool:
        """Whether that incarnation can never be alive again, as this value was there once."""
        return incarnation < self.incarnation or (
            incarnation == self.incarnation and self.ending is not None
        )


class Fenced(Exception):
    """What this host had as its incarnation was ended by another: what it has mounted is lost."""


class Foreign(Exception):
    """The register has a value of this incarnation's that this lease never had: it is another's."""


class Lease:
    """Our own. One thread at a time joins, renews and leaves; any may ask whether it is alive."""

    def __init__(
        self, register: Registered, boottime: Callable[[], float], seconds: int = LEASE_SECONDS
    ) -> None:
        self._register = register
        self._boottime = boottime
        self._seconds = seconds
        self._term: Term | None = None
        self._known: tuple[Term, ...] = ()  # that were in the register, or may be
        self._lock = threading.Lock()  # for moments: nobody waits for storage with it
        self._deadline = -inf  # by `boottime`; once it has passed none follows but by `join`

    @property
    def incarnation(self) -> int:
        return self._own.incarnation

    def is_alive(self) -> bool:
        """Whether it may be believed; without I/O. After a no it is never again, but by `join`."""
        return self.left() > 0

    def left(self) -> float:
        """For how many seconds more it is alive unless it is renewed; as `is_alive`."""
        with self._lock:
            left = self._deadline - self._boottime()
            if left <= 0:
                self._deadline = -inf
            return max(0.0, left)

    def join(self, ours: int | None, noted: Callable[[int], None] = lambda _: None) -> int:
        """Become alive, and return as which incarnation.

        `ours` is what this boot has been before, which goes on if nobody has ended it; None where
        nothing of an earlier one is in use here any more, or in use elsewhere under this name.
        `noted` keeps as which, before others can see that. Raises Fenced if `ours` is over,
        Foreign if this lease has been alive before, and that was elsewhere; Unavailable.
        """
        for _ in range(ATTEMPTS):
            found = _read(self._register)
            if ours is None or found == Term(ours, ending=Ending.LEFT):
                incarnation = found.incarnation + 1
            elif found.is_over(ours):
                raise Fenced(f"incarnation {ours} was ended: {found}")
            elif self._term is not None and found not in self._known:
                raise Foreign(f"the lease {found} is not this daemon's")
            else:
                incarnation = ours
            self._knows(found)
            noted(incarnation)
            sent = self._boottime()
            if self._sent(found, incarnation, sent):
                with self._lock:
                    self._deadline = sent + self._seconds
                return incarnation
        raise Unavailable("this host's lease is changed by somebody all the time")

    def renew(self) -> bool:
        """Be alive for longer; False once that is over for this incarnation.

        Raises Unavailable if it is not known whether it was done: until the deadline it is right
        to try again.
        """
        while self.is_alive():
            sent = self._boottime()
            if self._sent(self._own, self.incarnation, sent):
                return self._extend(sent + self._seconds)
            self._own_again()
        return False

    def leave(self) -> bool:
        """Be believed no longer, from now on; whether the others see that it was left.

        Raises Unavailable if that is not known.
        """
        self._end()
        while not _swapped(self._register, self._own, Term(self.incarnation, ending=Ending.LEFT)):
            if not self._own_again():
                return False
        return True

    @property
    def _own(self) -> Term:
        assert self._term is not None, "it has not joined"
        return self._term

    def _sent(self, old: Term, incarnation: int, now: float) -> bool:
        new = Term(incarnation, _beat(old, incarnation, now), self._seconds)
        self._knows(new)  # also if no answer comes
        if not _swapped(self._register, old, new):
            return False
        self._term = new
        return True

    def _knows(self, term: Term) -> None:
        self._known = (*self._known, term)[-_REMEMBERED:]

    def _extend(self, deadline: float) -> bool:
        """Whether it was in time: after the old one what was in use is being let go of."""
        with self._lock:
            if self._boottime() >= self._deadline:
                self._deadline = -inf
                return False
            self._deadline = deadline
            return True

    def _own_again(self) -> bool:
        """Go on from a change of ours that had been given up; else it is over, or another's."""
        found = _read(self._register)
        if found in self._known:
            self._term = found
            return True
        self._end()
        return False

    def is_here(self) -> bool:
        """Whether the register is the one that it has been in, be it that others ended it since.

        Raises Unavailable.
        """
        found = _read(self._register)
        return found in self._known or found == Term(self.incarnation, ending=Ending.FENCED)

    def _end(self) -> None:
        with self._lock:
            self._deadline = -inf


class Watch:
    """Another host's, as this host sees it. One thread at a time."""

    def __init__(self, register: Registered, boottime: Callable[[], float]) -> None:
        self._register = register
        self._boottime = boottime
        self.term: Term | None = None  # what was read last
        self._since = inf

    def look(self) -> None:
        """Read it; raises Unavailable, which changes nothing."""
        found = _read(self._register)
        if found != self.term:
            # After the read: it may have taken long, and what it found be as young as its end.
            self.term, self._since = found, self._boottime()

    def silent(self) -> float:
        """Since how many seconds nothing has changed, as far as was looked."""
        return max(0.0, self._boottime() - self._since)

    def is_expired(self) -> bool:
        """Whether it was silent for so long that it may be fenced."""
        return self.term is not None and self.silent() >= self.term.seconds * MARGIN_TIMES

    def is_over(self, incarnation: int) -> bool:
        """Whether that incarnation can never be alive again; a no may be out of date."""
        return self.term is not None and self.term.is_over(incarnation)

    def fence(self, *, is_off: bool = False) -> bool:
        """End the incarnation that was silent for long enough; whether it is over.

        `is_off`: somebody who knows says that its host writes nothing any more. Raises Unavailable
        if it is not known whether it is over.
        """
        if self.term is None:
            return False
        if self.term.ending is not None:
            return True
        if not (is_off or self.is_expired()):
            return False
        fenced = Term(self.term.incarnation, ending=Ending.FENCED)
        if _swapped(self._register, self.term, fenced):
            self.term = fenced
            return True
        self.look()
        return False


def _beat(old: Term, incarnation: int, now: float) -> int:
    """A beat that no attempt of this incarnation's ever bore: the clock's, in ms.

    Were the attempt after one that was given up to write the same, then that one, done late, would
    be taken for it, and for younger than it is. That goes for those of a process before this one.
    """
    beat = int(now * 1000)
    return max(old.beat + 1, beat) if incarnation == old.incarnation else beat


def _read(register: Registered) -> Term:
    try:
        return Term.parsed(register.read())
    except FileNotFoundError as error:
        raise Unavailable(f"the lease is not there: {error}") from error


def _swapped(register: Registered, old: Term, new: Term) -> bool:
    try:
        return register.swap(str(old), str(new))
    except files.Unsettled:
        return True  # all see it
    except FileNotFoundError as error:
        raise Unavailable(f"the lease is not there: {error}") from error
