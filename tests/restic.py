"""The real restic, of this system and of Debian unstable, as the judge of what we write."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convoy_py.restic import keyfiles
from convoy_py.restic.stores.local import LocalStore
from tests.fakes_restic import NOW, QUICK

BINARIES = ("restic", "restic-newest")  # tools/setup test installs both


@dataclass(frozen=True)
class Restic:
    """One of the binaries on one repository; each call fails the test unless restic is content."""

    binary: str
    repository: Path
    password: str = "right"

    def run(self, *args: str | Path, told: str = "") -> str:
        """What it printed; `told` goes to its standard input."""
        done = subprocess.run(
            [self.binary, "--no-cache", "-r", self.repository, *args],
            env={**os.environ, "RESTIC_PASSWORD": self.password, "TZ": "UTC"},
            input=told,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{self.binary} {args}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def json(self, *args: str | Path) -> Any:
        return json.loads(self.run("--json", *args))

    @property
    def is_newest(self) -> bool:
        return self.binary != BINARIES[0]

    def init(self, *, cheap: bool = False) -> None:
        """A repository of restic's own; a `cheap` one has a password that costs nothing to try."""
        self.run("init")
        if cheap:
            store = LocalStore(self.repository)
            [own] = keyfiles.every(store)
            keyfiles.add(store, own.open(self.password), self.password, NOW, QUICK)
            keyfiles.remove(store, own.id)

    def check(self) -> None:
        """All of it is read; nothing is wrong, and nothing is there that no index names."""
        told = self.run("check", "--read-data")
        assert "no errors were found" in told, told
        assert "not referenced" not in told, told

    def finds_nothing_to_mend(self) -> None:
        """Each tree is the same once it is encoded anew, and has what it names."""
        if self.is_newest:
            told = self.run("rewrite", "--dry-run", "--exclude", "nothing-here")
            assert "no snapshots" in told, told
            told = self.run("repair", "snapshots", "--dry-run")
            assert "no snapshots would be modified" in told, told
