"""Commands as a user types them: what they print, or that they fail and what they say then."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.e2e import forks
from tests.e2e.forks import PROJECT


class CommandError(Exception):
    """A command that failed; the text is what it said on standard error."""


def run(argv: Sequence[str | Path], **environment: str) -> str:
    """What a command printed; raises CommandError."""
    done = subprocess.run(
        argv,
        cwd=PROJECT,
        env={**variables(), **environment},
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
    with (
        os.fdopen(os.memfd_create("out"), "r+") as out,
        os.fdopen(os.memfd_create("err"), "r+") as err,
    ):
        code = forks.convoy(arguments, variables(), out.fileno(), err.fileno()).wait()
        out.seek(0)
        err.seek(0)
        printed, said = out.read(), err.read()
    if code:
        raise CommandError(f"convoy: {said or printed}")
    return printed


def variables() -> dict[str, str]:
    """The environment without settings of ours."""
    return {k: v for k, v in os.environ.items() if not k.startswith("CONVOY_")}
