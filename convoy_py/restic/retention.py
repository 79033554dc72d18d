"""Which snapshots a policy keeps: restic's rules, and its words for them."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Protocol, TypeVar

_PART = re.compile(r"(\d+)(last|h|d|w|m|y)?")


@dataclass(frozen=True)
class Policy:
    """How many to keep: of the last ones, and the newest of so many hours, days and so on."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Of `24h,7d,4w,12m,3y`, and `5last` or a bare number; raises ValueError."""
        found: dict[str, int] = {}
        for part in text.replace(" ", "").split(","):
            match = _PART.fullmatch(part)
            name = _NAMES[match[2] or "last"] if match else ""
            if match is None or name in found:
                raise ValueError(
                    f"{text!r} is not what to keep, such as 24h,7d,4w,12m,3y: the newest backup of "
                    "each of so many hours, days, weeks, months and years; 5last: the last five"
                )
            found[name] = int(match[1])
        policy = cls(**found)
        if not any(getattr(policy, field.name) for field in fields(policy)):
            raise ValueError(f"{text!r} keeps nothing: delete the backups by name instead")
        return policy


_NAMES = {
    "last": "last",
    "h": "hourly",
    "d": "daily",
    "w": "weekly",
    "m": "monthly",
    "y": "yearly",
}


def _week(time: datetime) -> tuple[int, int]:
    year, week, _ = time.isocalendar()
    return year, week


# What two snapshots have in common that count once; each is alone as one of the last.
_SAME: dict[str, Callable[[datetime], object]] = {
    "last": lambda _: object(),
    "hourly": lambda time: (time.year, time.month, time.day, time.hour),
    "daily": lambda time: (time.year, time.month, time.day),
    "weekly": _week,
    "monthly": lambda time: (time.year, time.month),
    "yearly": lambda time: time.year,
}


class Dated(Protocol):
    """What is kept or not, such as a snapshot; `time` has a zone."""

    @property
    def id(self) -> str: ...

    @property
    def time(self) -> datetime: ...


D = TypeVar("D", bound=Dated)


def surplus(snapshots: Sequence[D], policy: Policy, now: datetime) -> list[D]:
    """Those that the policy does not keep, of snapshots of one volume of one host.

    The natural hours, days, ISO weeks, months and years are those of the zone that each snapshot
    tells its time in. The very oldest is kept as long as a rule has not all that it asks for.
    Snapshots of the future are kept, and count for nothing: a clock was wrong.
    """
    past = [each for each in snapshots if each.time <= now]
    ordered = sorted(past, key=lambda each: (each.time, each.id), reverse=True)
    kept = set(_kept(ordered, policy))
    return [each for each in ordered if each.id not in kept]


def _kept(newest_first: Sequence[Dated], policy: Policy) -> Iterator[str]:
    for name, same in _SAME.items():
        left, last = getattr(policy, name), None
        for each in newest_first:
            if not left:
                break
            key = same(each.time)
            if key != last or each is newest_first[-1]:
                yield each.id
                left, last = left - 1, key
