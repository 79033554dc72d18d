"""The command line: `python -m bench [PART]...` prints tables; no figure makes it fail."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence

from bench import (
    backups,
    calls,
    command,
    datapath,
    endtoend,
    footprint,
    freezing,
    rivals,
    snapshots,
)
from convoy_py.linux import apart

_PARTS = {
    "calls": "plugin calls, beside the bare system calls and other plugins",
    "idle": "what our daemon takes of a processor while nobody calls",
    "memory": "resident memory of our daemon",
    "start": "time until our daemon answers",
    "command": "how long short commands take, beside an empty Python",
    "data": "writing into volumes and into a container's layer (starts an engine)",
    "docker": "docker run with one volume (starts an engine)",
    "backup": "long: backups beside restic and borg, where these are installed (ten minutes)",
    "snapshots": "long: snapshots and clones by the amount of data (12 GiB of disk)",
    "freeze": "long: what a writer feels of snapshots (ten minutes)",
}
# Only where they are named.
_LONG = ("backup", "snapshots", "freeze")


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("the bench mounts volumes: run it as root", file=sys.stderr)
        return 2
    apart.unshare()  # a copy that somebody else had of a mount would keep it in use
    # What is mounted and started is taken down on a SIGTERM as it is on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    effort = calls.QUICK if given.quick else calls.Effort()
    saved = backups.QUICK if given.quick else backups.Effort().times(given.scale)
    data = datapath.QUICK if given.quick else datapath.Effort()
    run: dict[str, Callable[[], None]] = {
        "calls": lambda: calls.run(effort, given.rival),
        "idle": lambda: footprint.idle(quick=given.quick),
        "memory": lambda: footprint.memory(quick=given.quick),
        "start": lambda: footprint.start(quick=given.quick),
        "command": lambda: command.run(quick=given.quick),
        "data": lambda: datapath.run(data),
        "docker": lambda: endtoend.run(quick=given.quick),
        "backup": lambda: backups.run(saved),
        "snapshots": lambda: snapshots.run(snapshots.QUICK if given.quick else snapshots.Effort()),
        "freeze": lambda: freezing.run(freezing.QUICK if given.quick else freezing.Effort()),
    }
    for part in given.part or [part for part in _PARTS if part not in _LONG]:
        run[part]()
    return 0


def _parser() -> argparse.ArgumentParser:
    parts = "\n".join(f"  {name:9} {meaning}" for name, meaning in _PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=f"Measures a volume plugin. The parts are:\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "part", nargs="*", choices=[*_PARTS, []], help="default: all but the long ones"
    )
    parser.add_argument("--quick", action="store_true", help="small numbers: does it run at all?")
    parser.add_argument(
        "--scale", type=float, default=1, metavar="N", help="so many times the data in `backup`"
    )
    parser.add_argument(
        "--rival",
        type=rivals.given,
        action="append",
        default=[],
        metavar="NAME=/path.sock[,KEY=VALUE...]",
        help="measure the calls of this plugin too, its volumes with these options; repeatable",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
