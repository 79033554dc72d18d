"""Reads modes of folders, and tells those that YAML has turned into other ones.

To YAML an unquoted `0770` is the number 504, and Docker is sent the text "504". Read as octal that
would be another mode; a mode without its leading zero is therefore taken only if nobody can have
meant another by it.
"""

_LARGEST = 0o7777
# The numbers of modes without setuid, setgid and sticky: to all of them YAML may have come.
_LARGEST_PLAIN = 0o777


def parse_mode(text: str) -> int:
    """The mode in octal digits; raises ValueError, with the way to write it right."""
    digits = text.lower().removeprefix("0o")
    mode = int(digits, 8) if _is_octal(digits) else None
    eaten = int(text) if _may_be_a_number(text) else None
    if mode is not None and (eaten is None or mode == eaten or _is_plain(mode, eaten)):
        return mode
    if eaten is None or not _is_meant(eaten):
        also = f", or 0{digits}" if mode is not None else ""
        raise ValueError(f"{text!r} is not an octal mode such as 0750{also}")
    also = f", or '0{digits}' if that is meant" if mode is not None else ""
    raise ValueError(
        f"{text!r} is what YAML makes of the octal 0{eaten:03o}: "
        f"write it quoted: '0{eaten:03o}'{also}"
    )


def _is_octal(digits: str) -> bool:
    known = digits != "" and len(digits) <= 5 and not set(digits) - set("01234567")
    return known and int(digits, 8) <= _LARGEST


def _may_be_a_number(text: str) -> bool:
    """Whether a number that is a mode is written so."""
    if not (text.isascii() and text.isdigit()) or text.startswith("0") or len(text) > 4:
        return False
    return int(text) <= _LARGEST


def _is_plain(mode: int, eaten: int) -> bool:
    """Whether digits without a leading zero, such as 755 or 1777, cannot have been another mode."""
    return eaten > _LARGEST_PLAIN and _is_usual(mode) and not _is_usual(eaten)


def _is_meant(eaten: int) -> bool:
    return eaten <= _LARGEST_PLAIN or _is_usual(eaten)


def _is_usual(mode: int) -> bool:
    """Whether the owner may read, and nobody may do what the owner may not."""
    owner, group, others = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    return bool(owner & 4) and not (group | others) & ~owner
