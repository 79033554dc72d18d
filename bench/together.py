"""Makes calls from several processes at once and times each of them.

Every client is a process of its own, so that clients wait for what they call, not for each other.
"""

import gc
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from time import perf_counter

from bench.figures import Timings

# Forked, a client has nothing to load; the bench itself has no threads.
FORK = multiprocessing.get_context("fork")


class CallFailed(Exception):
    """A call did not succeed, so its time means nothing."""


def together(calls: Sequence[Callable[[], object]], clients: int = 1) -> Timings:
    """Make all calls, shared out among so many clients that start together. Raises CallFailed."""
    barrier = FORK.Barrier(clients)
    ends = []
    for number in range(clients):
        ours, theirs = FORK.Pipe(duplex=False)
        share = calls[number::clients]
        process = FORK.Process(target=_work, args=(share, barrier, theirs), daemon=True)
        process.start()
        theirs.close()
        ends.append((process, ours))
    results = [ours.recv() for _, ours in ends]
    for process, _ in ends:
        process.join()
    if failures := [result for result in results if isinstance(result, str)]:
        raise CallFailed(failures[0])
    return Timings(
        tuple(took for _, _, seconds in results for took in seconds),
        max(end for _, end, _ in results) - min(begin for begin, _, _ in results),
    )


def in_turns(turns: Sequence[Mapping[str, Callable[[], object]]]) -> dict[str, Timings]:
    """Make calls one after the other; what bears the same key in each turn is one series.

    So what is compared is measured in the same moments. Raises CallFailed.
    """
    names = list(turns[0])
    found = together([turn[name] for turn in turns for name in names])
    series = {name: found.seconds[place :: len(names)] for place, name in enumerate(names)}
    return {name: Timings(seconds, sum(seconds)) for name, seconds in series.items()}


def _work(calls: Sequence[Callable[[], object]], barrier: Barrier, result: Connection) -> None:
    gc.disable()
    try:
        barrier.wait()
        begin = perf_counter()
        seconds = []
        for call in calls:
            started = perf_counter()
            call()
            seconds.append(perf_counter() - started)
        result.send((begin, perf_counter(), seconds))
    except (OSError, CallFailed) as error:
        result.send(str(error))
