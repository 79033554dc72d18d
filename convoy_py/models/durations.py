"""Seconds as people read them, in the units in which settings are given: `90s`, `12h`, `7d`."""

UNITS = {"d": 86400, "h": 3600, "m": 60}  # in seconds


def format_duration(seconds: float) -> str:
    """Roughly, in the largest unit of which there are two: `12s`, `30m`, `3d`."""
    for unit, length in UNITS.items():
        if seconds >= 2 * length:
            return f"{round(seconds / length)}{unit}"
    return f"{round(seconds)}s"


def exact_duration(seconds: float) -> str:
    """One that may be given again: `1d`, `90m`, `0.5s`."""
    for unit, length in UNITS.items():
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s" if seconds else "0"
