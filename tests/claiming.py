"""One host of several that use, remove and bring back one volume, and what may never be of it.

`python -m tests.claiming HOME HOST COUNT` has the claim COUNT times, and tells when it had it.
"""

import json
import random
import sys
import time
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from convoy_py.errors import Unavailable
from convoy_py.models.claims import Claim, Held, Member, Mode
from convoy_py.state import claims


class Use(NamedTuple):
    """That a host had it, by the clock of the machine: from after it knew to before it said."""

    host: int
    mode: str
    began: float
    ended: float


def used(home: Path, host: int, count: int) -> list[Use]:
    """What one host does in turn, by chance; each removal is of one that has it alone."""
    me, chance, found = Member(host, 1), random.Random(host), list[Use]()

    def wanted(claim: Claim) -> Claim:
        # Whatever it was before: of a change of ours that was given up nobody knows.
        there = claim.back(me, claim.tag) if claim.mode is Mode.GONE else claim
        return there.used(me, mode, lambda _: False, anew=True)

    while len(found) < count:
        mode = chance.choice((Mode.ONE, Mode.MANY, Mode.MANY))
        try:
            claim = claims.change(home, wanted)
            began = time.monotonic()
            now = claims.read(home)
            assert now is None or me in now.users, f"{now} after {claim}"
            found.append(Use(host, claim.mode, began, time.monotonic()))
            if claim.mode is Mode.ONE and chance.random() < 0.5:
                claims.change(home, lambda claim: claim.gone(me))
            else:
                claims.change(home, lambda claim: claim.left(me))
        except Held:
            continue
        except Unavailable:
            claims.change(home, lambda claim: claim.left(me))
    return found


def overlaps(uses: Iterable[Use]) -> list[tuple[Use, Use]]:
    """Those of two hosts at one time of which one had it alone."""
    return [
        (one, other)
        for one, other in combinations(sorted(uses, key=lambda use: use.began), 2)
        if one.host != other.host
        and Mode.ONE in (one.mode, other.mode)
        and one.began <= other.ended
        and other.began <= one.ended
    ]


if __name__ == "__main__":
    _home, _host, _count = sys.argv[1:]
    json.dump(used(Path(_home), int(_host), int(_count)), sys.stdout)
