"""Changes one line at a time on which safety hangs, and tells which changes no test notices.

`python -m tests.campaign.mutants [COUNT [SEED [PATH ...]]]`, as root: so many mutants, chosen by
chance, of the lowest layers or of the files and folders below convoy_py that are named. Each is
made in a copy of the checkout and meets the tests of its layer until one fails. What survives is
printed, with the line as it was and as it is.
"""

import ast
import copy
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from tests.harness import clean

PROJECT = Path(__file__).parents[2]
LAYERS = ("state", "engine", "backends", "linux")
# By layer, the quickest first; the last tests are those of all together.
TESTS = {
    "state": ["tests/unit/state", "tests/unit/engine"],
    "engine": ["tests/unit/engine", "tests/unit/api"],
    "backends": [
        *("tests/unit/backends", "tests/functional/backends"),
        "tests/conformance/test_power_cut.py",
        *("tests/conformance/test_snapshots.py", "tests/conformance/test_backend.py"),
        *("tests/conformance/test_backend_data.py", "tests/conformance/test_resizable.py"),
    ],
    "linux": ["tests/unit/linux", "tests/functional/linux", "tests/conformance/test_power_cut.py"],
}
TOGETHER = ["tests/crash/test_each_step.py", "tests/crash/test_faults.py"]
LIMIT = 900.0  # seconds for the tests of one mutant: one that hangs is noticed
MEMORY = 8 << 30  # bytes for each process of them: so is one that takes all there is

# A call for its effect on which something hangs if its name has one of these in it.
_CRITICAL = (
    *("sync", "refuse", "check", "thaw", "freeze", "rename", "exchange", "unlink", "remove"),
    *("retire", "abandon", "forget", "save", "mark", "seal", "note", "vacate", "settle", "commit"),
    *("immutable", "guard", "forbid", "chmod", "chown", "verify", "unmount", "detach", "rollback"),
)
_FLAGS = ("O_NOFOLLOW", "O_EXCL", "_BENEATH", "_NO_SYMLINKS", "_UMOUNT_NOFOLLOW", "O_DIRECTORY")


@dataclass(frozen=True)
class Mutant:
    """One change: `path` below the project, with its whole text, and what to tell of it."""

    path: Path
    line: int
    rule: str
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.before}  ->  {self.after}"


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """(rule, what stands in its place) of each change of one node."""
    match node:
        case ast.Expr(value=ast.Call(func=called)) if _is_critical(called):
            yield "drop a call", ast.Pass()
        case ast.If(test=test, body=[ast.Raise(), *_], orelse=[]):
            yield "drop a check", ast.If(ast.Constant(False), node.body, [])
        case ast.If(test=test):
            yield "turn a condition", ast.If(_not(test), node.body, node.orelse)
        case ast.With(items=[ast.withitem(context_expr=ast.Attribute(attr="_lock"))]):
            yield "drop a lock", ast.If(ast.Constant(True), node.body, [])
        case ast.BoolOp(values=[first, *rest]):
            yield "drop a condition", first
            yield "drop a condition", ast.BoolOp(node.op, rest) if rest[1:] else rest[0]
        case ast.Compare(left=left, ops=[ast.Lt()], comparators=[right]):
            yield "move a bound", ast.Compare(left, [ast.LtE()], [right])
        case ast.Tuple(elts=elements) if len(elements) > 1 and _are_errnos(elements):
            for at in range(len(elements)):
                kept = elements[:at] + elements[at + 1 :]
                yield "narrow the errnos", ast.Tuple(kept, ast.Load())
        case ast.BinOp(op=ast.BitOr(), left=left, right=right) if _name(right) in _FLAGS:
            yield "drop a flag", left


def _swaps(node: ast.AST) -> Iterator[tuple[int, ast.expr, ast.expr]]:
    """Where in the body of a node a call and the one after it can change places, and the two."""
    body = getattr(node, "body", None)
    for at, pair in enumerate(pairwise(body if isinstance(body, list) else [])):
        match pair:
            case (ast.Expr(value=ast.Call() as one), ast.Expr(value=ast.Call() as other)) if (
                _is_critical(one.func) or _is_critical(other.func)
            ):
                yield at, one, other


def _is_critical(called: ast.expr) -> bool:
    return any(word in _name(called) for word in _CRITICAL)


def _are_errnos(elements: list[ast.expr]) -> bool:
    return all(ast.unparse(one).startswith("errno.") for one in elements)


def _name(node: ast.AST) -> str:
    return str(getattr(node, "attr", "") or getattr(node, "id", ""))


def _not(test: ast.expr) -> ast.expr:
    return test.operand if isinstance(test, ast.UnaryOp) else ast.UnaryOp(ast.Not(), test)


def _mutants(path: Path) -> Iterator[Mutant]:
    tree = ast.parse(path.read_text())
    for number, node in enumerate(ast.walk(tree)):
        for rule, instead in _changes(node):
            changed = _with(tree, number, partial(_replaced, instead))
            yield _told(path, node, rule, instead, changed)
        for at, one, other in _swaps(node):
            changed = _with(tree, number, partial(_swapped, at))
            yield _told(path, one, "swap with the next", other, changed)


def _replaced(instead: ast.AST, _: ast.AST) -> ast.AST:
    return instead


def _swapped(at: int, node: ast.AST) -> ast.AST:
    body: list[ast.stmt] = vars(node)["body"]
    body[at], body[at + 1] = body[at + 1], body[at]
    return node


def _with(tree: ast.Module, number: int, change: Callable[[ast.AST], ast.AST]) -> str:
    """The text of a module in which one node, by its number in a walk, is changed."""
    changed = copy.deepcopy(tree)
    found = list(ast.walk(changed))[number]

    class Place(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return change(node) if node is found else self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Place().visit(changed)))


def _told(path: Path, node: ast.AST, rule: str, instead: ast.AST, text: str) -> Mutant:
    line = getattr(node, "lineno", 0)
    before, after = (ast.unparse(one).splitlines()[0] for one in (node, instead))
    return Mutant(path.relative_to(PROJECT), line, rule, before, after, text)


def chosen(count: int, seed: str, names: list[str]) -> list[Mutant]:
    """So many mutants, chosen by chance; of each rule about as many."""
    found: dict[str, list[Mutant]] = {}
    for name in names or LAYERS:
        top = PROJECT / "convoy_py" / name
        for path in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            for mutant in _mutants(path):
                found.setdefault(mutant.rule, []).append(mutant)
    chance, taken = random.Random(seed), list[Mutant]()
    for mutants in found.values():
        chance.shuffle(mutants)
    while len(taken) < count and any(found.values()):
        taken += [mutants.pop() for mutants in found.values() if mutants]
    return taken[:count]


def killer(path: Path, text: str) -> str:
    """The first test that fails, or hangs, where this is the text of a module; "" if none does."""
    folder = Path(tempfile.mkdtemp(prefix="mutant-"))
    checkout = folder / "checkout"
    ignored = shutil.ignore_patterns(".venv", ".git", ".*_cache", "__pycache__", "build")
    try:
        shutil.copytree(PROJECT, checkout, ignore=ignored)
        (checkout / path).write_text(text)
        return _first_failure(checkout, [*TESTS[path.parts[1]], *TOGETHER], folder)
    finally:
        clean(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _first_failure(checkout: Path, tests: list[str], folder: Path) -> str:
    command = [
        *("prlimit", f"--as={MEMORY}", sys.executable, "-m", "pytest", "-q", "-x"),
        *("-p", "no:cacheprovider", *tests),
    ]
    report = folder / "report"
    with (
        report.open("wb") as output,
        subprocess.Popen(
            command,
            cwd=checkout,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as run,
    ):
        try:
            if run.wait(LIMIT) == 0:
                return ""
        except subprocess.TimeoutExpired:
            return f"no end within {LIMIT:g} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    lines = report.read_text(errors="replace").splitlines()
    failed = [line.split()[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return failed[0] if failed else "the tests do not even begin"


def main(count: str = "100", seed: str = "", *names: str) -> int:
    seed = seed or secrets.token_hex(4)
    mutants = chosen(int(count), seed, list(names))
    for path in {mutant.path.parts[1]: mutant.path for mutant in mutants}.values():
        if failing := killer(path, (PROJECT / path).read_text()):
            sys.stderr.write(f"{failing} fails without any mutant\n")
            return 1
    survived = 0
    for number, mutant in enumerate(mutants, 1):
        by = killer(mutant.path, mutant.text)
        survived += not by
        verdict = f"killed by {by}" if by else "SURVIVED"
        sys.stdout.write(f"{number}/{len(mutants)} {mutant}: {verdict}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(mutants) - survived} of {len(mutants)} killed; seed {seed}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
