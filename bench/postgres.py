"""PostgreSQL, where it is installed: commits of one row each, and a database that is backed up."""

import pwd
import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from convoy_py.linux import files

_CLOCK = re.compile(r'clock_timestamp = "([^"]+)"')
_SKEW = 100  # as random_exponential of pgbench: 99 of 100 transactions are in 5 % of the rows
_NOW = "select clock_timestamp();\n"


def program(name: str) -> str | None:
    """Where one of its programs is; Debian keeps them out of PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(debian[-1]) if debian else None)


def transactions(folder: Path, count: int) -> float:
    """Commits per second, of one client without a connection. Raises CalledProcessError."""
    data = cluster(folder)
    inserts = "insert into t values (repeat('x', 100));\n" * count
    told = _single(data, f"create table t (row text);\n{_NOW}{inserts}{_NOW}")
    began, ended = map(datetime.fromisoformat, _CLOCK.findall(told))
    files.remove_tree(data)
    return count / (ended - began).total_seconds()


def cluster(folder: Path) -> Path:
    """A new one, in a folder of its own. Raises CalledProcessError."""
    data = folder / "postgres"
    data.mkdir()
    # It refuses to be root; and to whom volumes belong, nobody else can get.
    user = pwd.getpwnam("postgres")
    shutil.chown(data, user.pw_uid, user.pw_gid)
    made = [program("initdb") or "initdb", "--no-sync", "--auth=trust", f"--pgdata={data}"]
    subprocess.run([*_as_user(), *made], check=True, capture_output=True, cwd="/")
    return data


def fill(data: Path, rows: int) -> None:
    """Make a table of accounts, of some 130 bytes each, and what finds them by their number."""
    _single(
        data,
        "create table accounts (id int primary key, balance int, filler char(84));\n"
        f"insert into accounts select i, 0, '' from generate_series(1, {rows}) i;\n"
        "vacuum analyze accounts;\ncheckpoint;\n",
    )


def transact(data: Path, rows: int, count: int, chance: random.Random) -> None:
    """Commit updates of one account each, of some much more often than of others."""
    numbers = (1 + int(rows * chance.expovariate(_SKEW)) % rows for _ in range(count))
    updates = (f"update accounts set balance = balance + 1 where id = {i};\n" for i in numbers)
    _single(data, "".join([*updates, "checkpoint;\n"]), "-c", "fsync=off")


def _single(data: Path, statements: str, *options: str) -> str:
    """What a server without clients says of statements, a line each."""
    server = [program("postgres") or "postgres", "--single", *options, "-D", str(data), "postgres"]
    return subprocess.run(
        [*_as_user(), *server],
        input=statements,
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
    ).stdout


def _as_user() -> Sequence[str]:
    user = pwd.getpwnam("postgres")
    argv = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [*argv, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
