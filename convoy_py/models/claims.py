"""Who uses a volume of a shared root: the value of its register, and what may become of it. Pure.

`<number>.<tag>.<mode>.<host>-<incarnation>[+…]`. Whoever changes it raises the number, so that no
value comes twice: a change that was given up, and is made late, finds that it is too late.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

MOST_HOLDERS = 40
# The value is the name of a folder. Of what it may have, some is for the number, which grows on.
_LONGEST, _SPARE = 255, 8
_MEMBER = r"\d+-\d+"
_VALUE = re.compile(
    rf"(\d{{1,12}})\.([0-9a-f]{{8}})\.(free|one|many|taken|gone|purged)\.({_MEMBER}(?:\+{_MEMBER})*)"
)


class Mode(StrEnum):
    FREE = "free"  # by whoever had it last
    ONE = "one"  # one host alone
    MANY = "many"  # all that are named
    TAKEN = "taken"  # one host alone, which is yet to have data that no other can reach
    GONE = "gone"  # there is no such volume any more, but in the trash
    PURGED = "purged"  # not there either, though all of it may be yet


@dataclass(frozen=True, order=True)
class Member:
    """One life of a host on the root, by numbers."""

    host: int
    incarnation: int

    def __str__(self) -> str:
        return f"{self.host}-{self.incarnation}"

    def is_past(self, me: "Member") -> bool:
        """Whether it was this very host in an earlier life: nothing of that is mounted now."""
        return self.host == me.host and self.incarnation < me.incarnation


# A number, and a record: those of two volumes that bore one name differ in the latter.
Version = tuple[int, str]


class Held(Exception):
    """Others have it."""

    def __init__(self, *others: Member) -> None:
        super().__init__(*others)
        self.others = others


class HalfTaken(Exception):
    """A takeover was cut off: nothing else is to be done before it is complete."""


class Crowded(Exception):
    """More hosts than a value has room for want to use one volume."""


@dataclass(frozen=True)
class Claim:
    """`tag` tells which of the volume's records counts."""

    number: int
    tag: str
    mode: Mode
    members: tuple[Member, ...]

    @classmethod
    def parsed(cls, value: str) -> "Claim":
        """Raises ValueError."""
        if not (match := _VALUE.fullmatch(value)):
            raise ValueError(f"{value!r} is no claim")
        members = (map(int, member.split("-")) for member in match[4].split("+"))
        found = tuple(Member(*each) for each in members)
        return cls(int(match[1]), match[2], Mode(match[3]), found)

    def __str__(self) -> str:
        members = "+".join(map(str, self.members))
        return f"{self.number}.{self.tag}.{self.mode}.{members}"

    @property
    def version(self) -> Version:
        return self.number, self.tag

    @property
    def users(self) -> tuple[Member, ...]:
        """Who uses it now."""
        return self.members if self.mode in (Mode.ONE, Mode.MANY, Mode.TAKEN) else ()

    def used(
        self,
        me: Member,
        mode: Mode,
        is_over: Callable[[Member], bool],
        *,
        anew: bool = False,
    ) -> "Claim":
        """As it is while I use it, alone or with others; raises Held, HalfTaken, Crowded.

        `is_over`: of whom nothing can be mounted any more. Only of `many`, for what `one` had
        mounted is to be taken over. `anew`: though I have it already, for of an earlier change of
        mine it is not known whether it is yet to be made.
        """
        others = tuple(each for each in self.users if each != me and not each.is_past(me))
        if self.mode is Mode.MANY:
            others = tuple(each for each in others if not is_over(each))
        if others and (Mode.ONE in (mode, self.mode) or self.mode is Mode.TAKEN):
            raise Held(*others)
        if self.mode is Mode.TAKEN:
            raise HalfTaken
        if len(others) == MOST_HOLDERS:
            raise Crowded
        members = tuple(sorted({*others, me}))
        if self.mode is Mode.ONE and members == self.members:
            mode = Mode.ONE  # who has it alone has it all the more with others
        used = self._changed(mode=mode, members=members)
        if len(str(used)) + _SPARE > _LONGEST:
            raise Crowded
        return replace(self, number=self.number + 1) if anew and used is self else used

    def left(self, me: Member) -> "Claim":
        """As it is when I use it no longer."""
        others = tuple(each for each in self.users if each != me)
        if others == self.users or self.mode is Mode.TAKEN:
            return self
        mode = self.mode if others else Mode.FREE
        return self._changed(mode=mode, members=others or (me,))

    def taken(self, me: Member, is_over: Callable[[Member], bool]) -> "Claim":
        """As it is while I take it from a host that is over, or go on with that; raises Held."""
        others = tuple(each for each in self.users if each != me and not is_over(each))
        if others or self.mode not in (Mode.ONE, Mode.TAKEN):
            raise Held(*others)
        return self._changed(mode=Mode.TAKEN, members=(me,))

    def settled(self, me: Member) -> "Claim":
        """As it is once I have taken it."""
        if self.mode is Mode.TAKEN and self.members == (me,):
            return self._changed(mode=Mode.ONE)
        return self

    def opened(self, me: Member) -> "Claim":
        """As it is when I have it alone no longer, but use it."""
        if self.mode is Mode.ONE and self.members == (me,):
            return self._changed(mode=Mode.MANY)
        return self

    def tagged(self, tag: str) -> "Claim":
        """With another record; raises Held if there is no volume."""
        if self.mode in (Mode.GONE, Mode.PURGED):
            raise Held(*self.members)
        return self._changed(tag=tag)

    def told(self) -> "Claim":
        """With another number: something changed that the value does not tell."""
        return replace(self, number=self.number + 1)

    def gone(self, me: Member) -> "Claim":
        """Without a volume; raises Held unless I have it alone, or had it in an earlier life."""
        others = tuple(each for each in self.members if each != me and not each.is_past(me))
        if self.mode is not Mode.ONE or others:
            raise Held(*others)
        return self._changed(mode=Mode.GONE)

    def back(self, me: Member, tag: str) -> "Claim":
        """With a volume again, and another record; raises Held unless it was gone."""
        if self.mode is not Mode.GONE:
            raise Held(*self.members)
        return self._changed(tag=tag, mode=Mode.ONE, members=(me,))

    def purged(self, me: Member) -> "Claim":
        """Without a volume for good; raises Held unless it was gone."""
        if self.mode is Mode.PURGED:
            return self
        if self.mode is not Mode.GONE:
            raise Held(*self.members)
        return self._changed(mode=Mode.PURGED, members=(me,))

    def _changed(self, **changes: object) -> "Claim":
        changed = replace(self, **changes)  # type: ignore[arg-type]
        return self if changed == self else replace(changed, number=self.number + 1)
