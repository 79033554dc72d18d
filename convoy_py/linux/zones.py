"""The time zone of this host, with its changes of the clock."""

import os
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

LOCALTIME = Path("/etc/localtime")


def chosen(name: str | None) -> tzinfo:
    """The zone of a name such as Europe/Berlin, or else the host's.

    That is what the variable TZ names, or /etc/localtime is a copy of; UTC where neither says one.
    """
    for each in (name, os.environ.get("TZ", "").removeprefix(":")):
        if each:
            try:
                return ZoneInfo(each)
            except (OSError, ValueError, LookupError):
                continue
    try:
        with LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (OSError, ValueError):
        return UTC
