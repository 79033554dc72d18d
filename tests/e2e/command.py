"""Commands as a user types them: what they print, or that they fail and what they say then."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).parents[2]


class CommandError(Exception):
    """A command that failed; the text is what it said on standard error."""


def run(argv: Sequence[str | Path], **environment: str) -> str:
    """What a command printed; raises CommandError."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("CONVOY_")}
    done = subprocess.run(
        argv,
        cwd=PROJECT,
        env={**variables, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandError(f"{argv[0]}: {done.stderr or done.stdout}")
    return done.stdout


def convoy(*arguments: str) -> str:
    """What the `convoy` command printed; raises CommandError."""
    return run([sys.executable, "-m", "convoy_py", *arguments])
