"""Time zones by name."""

from zoneinfo import ZoneInfo


def zone(name: str) -> str:
    """The name; raises ValueError where no zone bears it."""
    try:
        return ZoneInfo(name).key
    except (OSError, ValueError, LookupError):
        raise ValueError(f"{name!r} is not a time zone such as Europe/Berlin or UTC") from None
