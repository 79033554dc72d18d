"""Polynomials over two elements, as bits of an integer: restic cuts files by a random one.

We do not cut by it, but a restic that later writes to the same repository does.
"""

import secrets

DEGREE = 53  # a prime, so that two conditions are enough for `irreducible`
_X = 0b10


def new() -> int:
    """A random irreducible one of that degree; about 13 tries, 10 ms."""
    while True:
        drawn = 1 << DEGREE | secrets.randbits(DEGREE) | 1
        if irreducible(drawn):
            return drawn


def irreducible(polynomial: int) -> bool:
    """Whether it is of DEGREE and has no divisors: Rabin's test."""
    if polynomial.bit_length() != DEGREE + 1:
        return False
    power = _X
    for _ in range(DEGREE):
        power = _remainder(_square(power), polynomial)
    return power == _X and _common_divisor(polynomial, 0b110) == 1


def _square(a: int) -> int:
    """The bits spread, a zero after each: the mixed terms appear twice and vanish."""
    return int(f"{a:b}", 4)


def _remainder(a: int, b: int) -> int:
    length = b.bit_length()
    while (excess := a.bit_length() - length) >= 0:
        a ^= b << excess
    return a


def _common_divisor(a: int, b: int) -> int:
    while b:
        a, b = b, _remainder(a, b)
    return a
