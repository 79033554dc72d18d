"""Polynomials over two elements, as bits of an integer: restic cuts files by a random one.

We do not cut by it, but a restic that later writes to the same repository does.
"""

import secrets

DEGREE = 53
_X = 0b10


def new() -> int:
    """A random irreducible one of that degree; about 13 tries, 10 ms."""
    while True:
        drawn = 1 << DEGREE | secrets.randbits(DEGREE) | 1
        if irreducible(drawn):
            return drawn


def irreducible(polynomial: int) -> bool:
    """Whether it is of DEGREE and has no divisors.

    x^(2^53) - x is the product of all irreducible ones whose degree divides 53: of those of degree
    53, and of x and x + 1, which alone make none of that degree.
    """
    if polynomial.bit_length() != DEGREE + 1:
        return False
    power = _X
    for _ in range(DEGREE):
        power = _remainder(_square(power), polynomial)
    return power == _X


def _square(a: int) -> int:
    """The bits spread, a zero after each: the mixed terms appear twice and vanish."""
    return int(f"{a:b}", 4)


def _remainder(a: int, b: int) -> int:
    length = b.bit_length()
    while (excess := a.bit_length() - length) >= 0:
        a ^= b << excess
    return a
