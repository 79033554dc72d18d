"""The command line: `python -m bench [PART]...` prints tables; no figure makes it fail."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import calls, command, datapath, endtoend, footprint, freezing, snapshots

_PARTS = {
    "calls": "plugin calls, beside bare system calls and a bare server",
    "memory": "resident memory of our daemon",
    "start": "time until our daemon answers",
    "command": "how long short commands take, beside an empty Python",
    "data": "writing into volumes and into a container's layer (starts an engine)",
    "docker": "docker run with one volume (starts an engine)",
    "snapshots": "snapshots and clones by the amount of data (12 GiB of disk)",
    "freeze": "what a writer feels of snapshots (ten minutes)",
}


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    unknown = [pair for pair in given.opt if "=" not in pair]
    options = dict(pair.split("=", 1) for pair in given.opt if pair not in unknown)
    if unknown or (given.socket is None and options):
        print("--opt takes key=value, and only with --socket", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("the bench mounts volumes: run it as root", file=sys.stderr)
        return 2
    # What is mounted and started is taken down on a SIGTERM as it is on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    effort = calls.QUICK if given.quick else calls.Effort()
    data = datapath.QUICK if given.quick else datapath.Effort()
    run: dict[str, Callable[[], None]] = {
        "calls": lambda: calls.run(effort, given.socket, options),
        "memory": lambda: footprint.memory(quick=given.quick),
        "start": lambda: footprint.start(quick=given.quick),
        "command": lambda: command.run(quick=given.quick),
        "data": lambda: datapath.run(data),
        "docker": lambda: endtoend.run(quick=given.quick),
        "snapshots": lambda: snapshots.run(snapshots.QUICK if given.quick else snapshots.Effort()),
        "freeze": lambda: freezing.run(freezing.QUICK if given.quick else freezing.Effort()),
    }
    chosen = given.part or (["calls"] if given.socket else list(_PARTS))
    for part in chosen:
        run[part]()
    return 0


def _parser() -> argparse.ArgumentParser:
    parts = "\n".join(f"  {name:9} {meaning}" for name, meaning in _PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"Measures a volume plugin. The parts are:\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="*", choices=[*_PARTS, []], help="default: all of them")
    parser.add_argument("--quick", action="store_true", help="small numbers: does it run at all?")
    parser.add_argument("--socket", type=Path, help="measure the calls of this plugin, not ours")
    parser.add_argument(
        "--opt", action="append", default=[], help="key=value for its volumes; may be repeated"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
