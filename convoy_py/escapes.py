r"""Text that may hold anything as printable text, and file names, which are bytes, and back.

Python has a byte that is no UTF-8 as a lone surrogate, which neither UTF-8 nor JSON can hold.
"""

import os
import re

_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|\\)")
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")
_BYTE = re.compile("[\udc80-\udcff]")

# Longer than the table of options; a client's own text cannot fill a terminal or a log with it.
LONGEST_CHARACTERS = 4096


def escaped(path: str) -> str:
    r"""A path as users see it: `\xHH` for each byte that cannot be printed, `\\` for a backslash.

    A name in Latin-1 is told as `caf\xe9.txt`; no two paths are told alike.
    """
    doubled = path.replace("\\", "\\\\")
    if doubled.isprintable():
        return doubled
    return "".join(c if c.isprintable() else _bytes(c) for c in doubled)


def meanings(told: str) -> tuple[str, ...]:
    """The paths that a user may mean, the likeliest first.

    That which is `escaped` so, if there is one, and that which is written with these very letters.
    """
    path = os.fsdecode(_ESCAPE.sub(_unescaped, os.fsencode(told)))
    return (path, told) if path != told and escaped(path) == told else (told,)


def printable(text: str) -> str:
    """`text` with Python's escapes for line breaks and whatever else a terminal would act upon.

    For people: unlike what is `escaped` it cannot be read back.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in encodable(text))


def one_line(text: str) -> str:
    """`text` without control characters, line breaks and escapes of terminals, cut if long.

    A byte of a file's name that is no UTF-8 is told by its escape.

    Docker's client prints an Err raw to the user's terminal.
    """
    if not text.isprintable():
        plain = _TERMINAL.sub("", text)
        spaced = "".join(c if c.isprintable() else " " for c in encodable(plain))
        text = " ".join(spaced.split())
    return text if len(text) <= LONGEST_CHARACTERS else text[: LONGEST_CHARACTERS - 1] + "…"


def encodable(text: str) -> str:
    r"""`text` in which bytes that are no UTF-8 are told as `\xHH`: JSON can hold it."""
    return _BYTE.sub(lambda match: _bytes(match[0]), text)


def _bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def _unescaped(escape: re.Match[bytes]) -> bytes:
    return b"\\" if escape[1] == b"\\" else bytes.fromhex(escape[1][1:].decode())
