"""Which scenario of the plugin contract is covered by which test; writes docs/scenarios.md.

    python -m tests.e2e.scenarios

A test says what it covers at the beginning of its docstring: `11.25, B17: …`. `11.n` is scenario n
of the contract, and `12.n` verb n of an owner, in the tables below; a letter and a number name a
fault of the fault table.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "scenarios.md"
_COVERS = re.compile(r"((?:1[12]\.\d+|[A-H]\d+)(?:, (?:1[12]\.\d+|[A-H]\d+))*): ")

TITLES = {
    1: "activate",
    2: "capabilities: scope",
    3: "create, inspect, ls, rm",
    4: "options null, {} and absent",
    5: "create again with the same options",
    6: "create again with other options",
    7: "create a name that another driver has",
    8: "volume deleted behind the engine's back",
    9: "get of an unknown volume",
    10: "no volume in the answer of Get",
    11: "status in inspect",
    12: "creation time in inspect",
    13: "Get while the storage is broken or hangs",
    14: "list of 1,000 volumes",
    15: "list while one volume is broken",
    16: "Path",
    17: "run --rm with a named volume",
    18: "run --rm with an anonymous volume",
    19: "--volumes-from",
    20: "rm -fv of a container",
    21: "mounts in inspect of a container",
    22: "engine restart keeps driver, options, labels",
    23: "mount ID",
    24: "mount fails: no Unmount follows",
    25: "docker cp on a running container",
    26: "docker cp on a stopped container",
    27: "plugin appears while it is looked for",
    28: "missing driver does not block others",
    29: "swarm service filter",
    30: "one container, two destinations",
    31: "two containers",
    32: "restart of a container",
    33: "container fails to start",
    34: "copy-up of content, owner and mode",
    35: "nocopy",
    36: "volume-subpath",
    37: "read-only in one container",
    38: "volume rm while in use",
    39: "volume rm with leaked references",
    40: "Remove while a container has the volume",
    41: "Remove of an unknown volume",
    42: "Unmount of an unknown ID or volume",
    43: "engine killed",
    44: "engine stopped and started",
    45: "live-restore",
    46: "live-restore, container died meanwhile",
    47: "host reboot",
    48: "plugin restart, idle",
    49: "plugin killed in the middle of Create",
    50: "Get with an empty body",
    51: "connection closed under a request",
    52: "socket activation",
    53: "plugin missing at engine start",
    54: "stale socket",
    55: "create that takes 35 s",
    56: "create that takes longer than 120 s",
    57: "client of a Mount has gone",
    58: "unmount while busy",
    59: "unmount fails, then start again",
    60: "names",
    61: "error text",
    62: "status of every failure",
    63: "concurrency",
    64: "mount path",
    65: "discovery by .spec, .json, folder",
    66: "managed: create, enable, disable, rm",
    67: "managed: disable while in use",
    68: "managed: restart with a volume",
    69: "managed: mounts of /dev and /",
    70: "managed: run",
    71: "managed: plugin killed",
    72: "managed: disable -f and enable",
    73: "managed: engine restart and kill",
    74: "managed: live-restore without containers",
    75: "managed: upgrade",
    76: "managed: set",
    77: "managed: storage that is slow to start",
    78: "podman: create, rm",
    79: "podman: plugin missing",
    80: "podman: rm with the plugin stopped",
    81: "podman: containers share a volume",
    82: "podman: reload",
    83: "podman: timeout",
    84: "podman: status of an error",
    85: "podman and docker on one volume",
    86: "podman: reboot",
    87: "podman: upper-case options",
    88: "podman: volume prune",
    89: "compose",
    90: "connection without a byte",
}

# What an owner does with volumes: docs/snapshots.md.
VERBS = {
    1: "snapshot under a writer",
    2: "snapshot as a volume of Docker's",
    3: "snapshots of a group; containers paused meanwhile",
    4: "daemon killed while it has a volume frozen",
    5: "rollback, with containers stopped, and undone",
    6: "diff, restore-file",
    7: "clone of a snapshot, of a live volume, of another kind",
    8: "private clones",
    9: "resize",
    10: "autogrow, trim, df",
    11: "trash",
    12: "protect, rename, convert",
    13: "adopt",
    14: "in the managed plugin",
    15: "who uses a volume, and pausing and stopping them",
    16: "backup and restore",
}

# Why no test here covers a scenario. A reason whose scenario is covered is an error.
UNCOVERED = {
    29: "a swarm opens ports of the host, which a test beside other engines must not",
    47: "needs a machine that boots: tests/lab/systemd.sh does it there",
    55: "takes longer than a test may; the limit of 25 s and the repeat that joins are unit-tested",
    56: "as 55: every call is answered after 25 s at the latest",
    89: "not tried with docker-compose; that labels outlive a hiccup is tested in 22, 50 and 53",
}


def covered() -> dict[str, list[str]]:
    """`11.25` or `B17` -> the tests, as `test_containers.py::test_copy`, in the order of files."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for name, docstring in _tests(path):
            if match := _COVERS.match(docstring):
                for key in match[1].split(", "):
                    found.setdefault(key, []).append(f"{path.name}::{name}")
    return found


def unlabelled() -> list[str]:
    """Tests whose docstring does not begin with what they cover."""
    return [
        f"{path.name}::{name}"
        for path in sorted(Path(__file__).parent.glob("test_*.py"))
        for name, docstring in _tests(path)
        if path.name != "test_scenarios.py" and not _COVERS.match(docstring)
    ]


def render() -> str:
    """The document."""
    tests = covered()
    lines = [
        "# Scenarios of the volume plugin contract",
        "",
        "What Docker Engine and Podman are known to do to a volume plugin, and the test that does",
        "it to this one. Written by `python -m tests.e2e.scenarios` from the tests in `tests/e2e`.",
        "",
        "| # | scenario | test |",
        "|---|---|---|",
    ]
    for number, title in TITLES.items():
        found = tests.get(f"11.{number}")
        shown = _links(found) if found else f"not covered: {UNCOVERED.get(number, '')}"
        lines.append(f"| {number} | {title} | {shown} |")
    lines += [
        "",
        "## What an owner does",
        "",
        "The verbs of docs/snapshots.md, on volumes that containers use.",
        "",
        "| # | verb | test |",
        "|---|---|---|",
        *(f"| {n} | {title} | {_links(tests[f'12.{n}'])} |" for n, title in VERBS.items()),
    ]
    faults = sorted((k for k in tests if k[0].isalpha()), key=lambda k: (k[0], int(k[1:])))
    lines += [
        "",
        "## Faults tried through an engine",
        "",
        "Rows of the fault table; those of other kinds are in `tests/crash` and",
        "`tests/conformance`.",
        "",
        "| row | test |",
        "|---|---|",
        *(f"| {key} | {_links(tests[key])} |" for key in faults),
    ]
    return "\n".join(lines) + "\n"


def _tests(path: Path) -> Iterator[tuple[str, str]]:
    """(name, docstring) of every test function in a file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.name, ast.get_docstring(node) or ""


def _links(tests: list[str]) -> str:
    return ", ".join(f"`{test}`" for test in tests)


if __name__ == "__main__":
    DOCUMENT.write_text(render(), encoding="utf-8")
