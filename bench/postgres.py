"""PostgreSQL, where it is installed: transactions of one row, each of them synced."""

import pwd
import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

from convoy_py.linux import files

_CLOCK = re.compile(r'clock_timestamp = "([^"]+)"')
_NOW = "select clock_timestamp();\n"


def program(name: str) -> str | None:
    """Where one of its programs is; Debian keeps them out of PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(debian[-1]) if debian else None)


def transactions(folder: Path, count: int) -> float:
    """Commits per second, of one client without a connection. Raises CalledProcessError."""
    data = folder / "postgres"
    data.mkdir()
    # It refuses to be root; and to whom volumes belong, nobody else can get.
    user = pwd.getpwnam("postgres")
    shutil.chown(data, user.pw_uid, user.pw_gid)
    argv = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    argv += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    made = [program("initdb") or "initdb", "--no-sync", "--auth=trust", f"--pgdata={data}"]
    subprocess.run([*argv, *made], check=True, capture_output=True, cwd="/")
    inserts = "insert into t values (repeat('x', 100));\n" * count
    told = subprocess.run(
        [*argv, program("postgres") or "postgres", "--single", "-D", data, "postgres"],
        input=f"create table t (row text);\n{_NOW}{inserts}{_NOW}",
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
    ).stdout
    began, ended = map(datetime.fromisoformat, _CLOCK.findall(told))
    files.remove_tree(data)
    return count / (ended - began).total_seconds()
