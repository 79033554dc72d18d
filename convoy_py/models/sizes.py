"""Sizes in bytes, as people write them and as they are shown."""

import re
from fractions import Fraction

_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))? ?([kmgtp]?)(i?b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
# Below the signed 64-bit file offset, so that no later sum can overflow it.
LARGEST = 2**62

SIZE_FORMS = "plain bytes, 10G or 1.5GiB (1024-based), or 10GB (1000-based)"


def parse_size(text: str) -> int:
    """Bytes of a size such as `10G`, `1.5GiB` (both 1024-based), `10GB` (1000-based) or `4096`.

    Raises ValueError, with the accepted forms, for anything else.
    """
    match = _SIZE.fullmatch(text)
    if not match or len(text) > 40:  # the length bounds the arithmetic
        raise ValueError(f"{text[:40]!r} is not a size: use {SIZE_FORMS}")
    whole, decimals, unit, suffix = match.groups()
    if not unit and (decimals or (suffix or "").lower() == "ib"):
        raise ValueError(f"{text!r} is not a size: use {SIZE_FORMS}")
    base = 1000 if (suffix or "").lower() == "b" else 1024
    number = Fraction(f"{whole}.{decimals or 0}")
    size = int(number * base ** _POWERS[unit.lower()])
    if size > LARGEST:
        raise ValueError(f"{text!r} is more than the largest size, {format_size(LARGEST)}")
    return size


def format_size(size: int) -> str:
    """A size for people, 1024-based and exact to three digits: `1.5GiB`, `512B`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if abs(value) < 1024 or unit == "PiB":
            break
        value /= 1024
    return f"{value:.3g}{unit}" if abs(value) < 1000 else f"{value:.0f}{unit}"
