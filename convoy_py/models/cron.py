"""Cron expressions, or the time between: how they are spelled, and when the next moment is.

They mean what Debian's cron means by them, the days on which clocks are changed included: what is
to be at a certain hour is neither left out nor done twice.
"""

import re
from datetime import datetime

from cronsim import CronSim, CronSimError

from convoy_py.models.durations import UNITS

NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_INTERVAL = re.compile(r"([1-9][0-9]{0,3})([mhd])")
_FIELDS = "minute, hour, day of the month, month, day of the week"
_LONGEST = 200  # characters
_ANY_LEAP_DAY = datetime(2024, 1, 1)  # noqa: DTZ001 - whether there is a moment, in any zone


def expression(text: str) -> str:
    """The same, as it is kept and told; raises ValueError, in words, for what is none."""
    plain = " ".join(text.split())
    if _INTERVAL.fullmatch(plain.lower()):
        return plain.lower()
    if plain.startswith("@"):
        if (named := plain.lower()) in NAMED:
            return named
        raise ValueError(f"{plain[:40]!r} is not one of {', '.join(NAMED)}")
    if len(plain) > _LONGEST or len(plain.split(" ")) != 5:
        raise _none(plain, f"it has not five fields: {_FIELDS}")
    try:
        next(CronSim(plain, _ANY_LEAP_DAY))
    except CronSimError as error:
        raise _none(plain, f"{str(error)[0].lower()}{str(error)[1:]}") from None
    except StopIteration:
        raise _none(plain, "there is no such day") from None
    return plain


def following(expression: str, after: datetime) -> datetime:
    """The first moment after another, which has a time zone; in that zone.

    An interval counts from there, in hours that pass.
    """
    if interval := _INTERVAL.fullmatch(expression):
        seconds = int(interval[1]) * UNITS[interval[2]]
        return datetime.fromtimestamp(after.timestamp() + seconds, after.tzinfo)
    moments = CronSim(NAMED.get(expression, expression), after)
    # Where an hour comes twice, one of its first time may be found from within its second.
    return next(moment for moment in moments if moment.timestamp() > after.timestamp())


def _none(text: str, why: str) -> ValueError:
    return ValueError(
        f"{text[:40]!r} is no cron expression, such as '30 2 * * *' for each day at 02:30, nor one "
        f"of {', '.join(NAMED)}, nor a time between such as 12h or 7d: {why}"
    )
