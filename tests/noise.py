"""Bytes that no filesystem stores in fewer, and never the same: for large files of which no test
needs the chance.

What the kernel makes of chance costs more than all else of writing it to a file in memory.
"""

import os
from random import SystemRandom

_MIB = 1 << 20
_TWICE = 2 * os.urandom(_MIB)
_chance = SystemRandom()


def noise(size: int) -> bytes:
    """So many bytes: MiB after MiB the same random ones, each time from another of them on."""
    starts = (_chance.randrange(_MIB) for _ in range(0, size, _MIB))
    return b"".join(_TWICE[start : start + _MIB] for start in starts)[:size]
