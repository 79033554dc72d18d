"""Sizes in bytes, as people write them and as they are shown."""

import re

_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))? ?([kmgtp]?)(i?b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
# Below the signed 64-bit file offset, so that no later sum can overflow it.
LARGEST = 2**62

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
# A whole number that is longer than this is no easier to read in a unit than in bytes.
_LEGIBLE = 100_000

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
    decimals = decimals or ""
    # In whole numbers: exact, and rounded down.
    digits, scale = int(whole + decimals), base ** _POWERS[unit.lower()]
    size: int = digits * scale // 10 ** len(decimals)
    if size > LARGEST:
        raise ValueError(f"{text!r} is more than the largest size, {format_size(LARGEST)}")
    return size


def format_size(size: int) -> str:
    """A size for people, 1024-based and exact to three digits: `1.5GiB`, `512B`."""
    value = float(size)
    for unit in _UNITS:
        if abs(value) < 1024 or unit == "PiB":
            break
        value /= 1024
    return f"{value:.3g}{unit}" if abs(value) < 1000 else f"{value:.0f}{unit}"


def exact_size(size: int) -> str:
    """A size for people that may be given again: `1536MiB`, or plain bytes where no unit fits."""
    power, number = 0, size
    while number and number % 1024 == 0 and power < len(_UNITS) - 1:
        power, number = power + 1, number // 1024
    return f"{number}{_UNITS[power]}" if number < _LEGIBLE and power else str(size)
