"""The one rule for volume names, applied at every entry and when a record is read back."""

import re

from convoy_py.errors import InvalidName

NAME_PATTERN = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"
_NAME = re.compile(NAME_PATTERN)


def is_valid_name(name: str) -> bool:
    """Whether `name` may be a volume's; ASCII only, so it is also its length in bytes."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Return `name`, or raise InvalidName."""
    if not is_valid_name(name):
        raise InvalidName(name)
    return name
