"""One host of several that change one register as fast as they can, and what is to come of it.

`python -m tests.registering FOLDER HOST COUNT` swaps until COUNT swaps were won, and tells each.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from convoy_py.errors import Unavailable
from convoy_py.state import register

_PROJECT = Path(__file__).parents[1]
FIRST = "0.nobody"


def take_turns(
    host: str, count: int, read: Callable[[], str], swap: Callable[[str, str], bool]
) -> list[int]:
    """The numbers that this host won. No two attempts write the same value."""
    won: list[int] = []
    attempts = 0
    while len(won) < count:
        old = read()
        number = int(old.partition(".")[0]) + 1
        attempts += 1
        try:
            if swap(old, f"{number}.{host}.{attempts}"):
                won.append(number)
        except Unavailable:
            continue  # whether it was won shows in what the others win
    return won


def faults(won: Iterable[list[int]], last: str) -> list[str]:
    """What is wrong with the numbers that hosts won of a register that has `last` in the end."""
    count = Counter(number for each in won for number in each)
    highest = int(last.partition(".")[0])
    found = [f"{number} was won {times} times" for number, times in count.items() if times > 1]
    return found + [
        f"nobody won {n}" for n in range(1, max([highest, *count]) + 1) if n not in count
    ]


def raced(folders: list[Path], count: int) -> list[list[int]]:
    """What each of several processes won, each by its own view of the register."""
    return told("tests.registering", folders, count)


def told(module: str, folders: list[Path], count: int) -> list[Any]:
    """What each process of a program tells that runs once for each view of a folder, as a host."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(folder), str(n), str(count)],
            stdout=subprocess.PIPE,
            cwd=_PROJECT,
        )
        for n, folder in enumerate(folders)
    ]
    answers = [process.communicate(timeout=240)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running)
    return [json.loads(each) for each in answers]


def main(folder: str, host: str, count: str) -> None:
    path = Path(folder)
    won = take_turns(
        host,
        int(count),
        lambda: register.read(path),
        lambda old, new: register.swap(path, old, new),
    )
    json.dump(won, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
