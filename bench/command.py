"""How long the `convoy` command takes, beside a Python that does nothing."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from bench.figures import Table, milliseconds, times
from bench.subject import PREFIX, daemon, scratch

_VOLUMES = 10
_WALL_AIM, _RATIO_AIM = "100", "10x"
_PYTHON = [sys.executable, "-c", "pass"]
_CONVOY = str(Path(sys.executable).with_name("convoy"))
_FIRST = f"{PREFIX}0"


@dataclass(frozen=True)
class _Run:
    """What one process took, in seconds; how busy the machine is shows in `wall` alone."""

    wall: float
    cpu: float


def run(*, quick: bool) -> None:
    """Print what short commands take, in turns with the empty Python."""
    columns = ("command", "wall ms", "aim", "CPU ms", "to `python -c pass`", "aim")
    table = Table("The command, beside a daemon with 10 volumes (median)", columns)
    with scratch() as folder, daemon(folder, _VOLUMES) as running:
        plain = {key: text for key, text in os.environ.items() if not key.startswith("CONVOY_")}
        environment = plain | {"CONVOY_SOCKET": str(running.admin)}
        for words in ("--help", "list", f"inspect {_FIRST}", "snapshot list"):
            _measure(table, words, words.split(), environment, quick=quick)
        for words in ("in", f"inspect {PREFIX}"):
            asked = {
                "_CONVOY_COMPLETE": "bash_complete",
                "COMP_WORDS": f"convoy {words}",
                "COMP_CWORD": str(len(words.split())),
            }
            _measure(table, f"{words}<TAB>", [], environment | asked, quick=quick)
    print(table)


def _measure(
    table: Table, title: str, words: Sequence[str], environment: Mapping[str, str], *, quick: bool
) -> None:
    ours, empty = [], []
    for _ in range(3 if quick else 21):
        empty.append(_once(_PYTHON, environment))
        ours.append(_once([_CONVOY, *words], environment))
    ratio = median(mine.cpu / least.cpu for mine, least in zip(ours, empty, strict=True))
    wall, cpu = median(each.wall for each in ours), median(each.cpu for each in ours)
    table.add(title, milliseconds(wall), _WALL_AIM, milliseconds(cpu), times(ratio), _RATIO_AIM)


def _once(argv: list[str], environment: Mapping[str, str]) -> _Run:
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    began = perf_counter()
    child = os.posix_spawn(argv[0], argv, environment, file_actions=quiet)
    _, status, used = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"{' '.join(argv)} failed: {os.waitstatus_to_exitcode(status)}")
    return _Run(perf_counter() - began, used.ru_utime + used.ru_stime)
