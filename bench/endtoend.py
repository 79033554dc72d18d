"""`docker run` of a container that does nothing, by what is mounted into it."""

import time

from bench.engine import IMAGE, Engine, engine
from bench.figures import Table, Timings, milliseconds, times
from bench.subject import scratch

_AIM = "1.20x"
_NONE, _LOCAL = "no volume", "local"
_OURS = {"directory": {}, "loopback": {"size": "64MiB"}}


def run(*, quick: bool) -> None:
    """Print the times with one volume beside those with one of Docker's own."""
    with scratch() as folder, engine(folder) as running:
        volumes = _volumes(running)
        seconds: dict[str, list[float]] = {name: [] for name in volumes}
        # Interleaved, for the machine is not equally fast all the time. The first round warms up.
        for turn in range((2 if quick else 25) + 1):
            for name, flags in volumes.items():
                started = time.perf_counter()
                running.docker("run", "--rm", "--network=none", *flags, IMAGE, "/bin/true")
                if turn:
                    seconds[name].append(time.perf_counter() - started)
    found = {name: Timings(tuple(each), sum(each)) for name, each in seconds.items()}
    table = Table("docker run --rm (ms)", ("volume", "p50", "p99", "to local", "aim"))
    for name, each in found.items():
        ratio = times(each.p50 / found[_LOCAL].p50)
        aim = _AIM if name in _OURS else ""
        table.add(name, milliseconds(each.p50), milliseconds(each.p99), ratio, aim)
    print(table)


def _volumes(running: Engine) -> dict[str, list[str]]:
    """What is measured -> the flags of `docker run`."""
    running.volume(_LOCAL, "local")
    for backend, options in _OURS.items():
        running.volume(backend, running.driver, backend=backend, **options)
    flags = {name: ["--volume", f"{name}:/data"] for name in (_LOCAL, *_OURS)}
    return {_NONE: [], **flags}
