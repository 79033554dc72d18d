"""What our daemon weighs and how soon it answers, by number of volumes."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median

from bench import client
from bench.client import request
from bench.crowd import crowd
from bench.figures import Table, mebibytes, milliseconds
from bench.rivals import Subject
from bench.subject import PREFIX, daemon, scratch
from bench.together import together

_VOLUMES = (10, 1000, 10_000)
_MEMORY_AIMS = {1000: "60"}
_SOCKET_AIM = "500"
_ANSWER_AIMS = {1000: "1000"}
_MOUNTED, _THREADS = 200, 600
_IDLE_SECONDS = 90.0  # three rounds of the janitor
_IDLE_AIM = "0.3"
_KINDS: Mapping[str, Mapping[str, str]] = {
    "directory": {},
    "loopback": {"backend": "loopback", "size": "64MiB"},
}


def memory(*, quick: bool) -> None:
    """Print the resident memory after the start, and after many calls, 16 at a time."""
    columns = ("volumes", "at rest", "after calls", "peak", "aim")
    table = Table("Resident memory of the daemon (MiB)", columns)
    for volumes in _sizes(quick=quick):
        with scratch() as folder, daemon(folder, volumes) as running:
            running.settle()
            rest = running.rss
            names = [f"{PREFIX}{i}" for i in range(volumes)]
            for call, asked in (("Get", names), ("Mount", names[:200]), ("Unmount", names[:200])):
                messages = [request(f"VolumeDriver.{call}", Name=name, ID="id") for name in asked]
                together([partial(client.call, running.plugin, m) for m in messages], 16)
            together([partial(client.call, running.plugin, request("VolumeDriver.List"))] * 20, 4)
            figures = (rest, running.rss, running.rss_peak)
            table.add(f"{volumes}", *map(mebibytes, figures), _MEMORY_AIMS.get(volumes, ""))
    print(table)


def start(*, quick: bool) -> None:
    """Print the time from the start of the process until it accepts, and until it answers."""
    columns = ("volumes", "socket open", "aim", "List answered", "aim")
    table = Table("Start of the daemon (ms, median)", columns)
    for volumes in _sizes(quick=quick):
        opened, answered = [], []
        with scratch() as folder:
            for _ in range(2 if quick else 7):
                with daemon(folder, volumes) as running:
                    opened.append(running.socket_open)
                    answered.append(running.answered)
        aim = _ANSWER_AIMS.get(volumes, "")
        first, last = milliseconds(median(opened)), milliseconds(median(answered))
        table.add(f"{volumes}", first, _SOCKET_AIM, last, aim)
    print(table)


def idle(*, quick: bool) -> None:
    """Print the share of a processor that a daemon takes whose volumes are mounted."""
    mounted, seconds = (4, 1.0) if quick else (_MOUNTED, _IDLE_SECONDS)
    columns = ("volumes", "% of a processor", "aim")
    table = Table(f"Idle, {mounted} mounted, beside {_THREADS} threads of others", columns)
    for kind, options in _KINDS.items():
        with scratch() as folder, crowd(_THREADS), daemon(folder) as running:
            subject = Subject(kind, running.plugin, options)
            for number in range(mounted):
                subject.ask("Create", f"{PREFIX}{number}")
                subject.ask("Mount", f"{PREFIX}{number}")
            time.sleep(seconds / 3)  # what was begun by these calls comes to an end
            before = running.busy()
            time.sleep(seconds)
            share = (running.busy() - before) / seconds
            table.add(kind, f"{share * 100:.2f}", _IDLE_AIM)
    print(table)


def _sizes(*, quick: bool) -> Sequence[int]:
    return (10, 100) if quick else _VOLUMES
