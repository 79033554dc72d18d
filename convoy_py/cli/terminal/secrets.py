"""Secrets come from files or from a prompt; never from arguments, which every process can read."""

import os
import stat
import sys

import click

from convoy_py.cli.terminal.output import note
from convoy_py.errors import Invalid

_LONGEST = 2**14  # characters
_HOW = "`head -c 32 /dev/urandom | base64 > F; chmod 600 F` makes one"


def read_secret(what: str, path: str) -> str:
    """What a file of the user's holds; raises Invalid. One that others may read is told."""
    try:
        with open(path, encoding="utf-8-sig") as file:  # noqa: PTH123 - Path would cost a short command more
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LONGEST + 1)
    except OSError as error:
        made = f"; {_HOW.replace('F', path)}" if what == "password" else ""
        raise Invalid(f"the {what} file {path} cannot be read: {error.strerror}{made}") from None
    except UnicodeDecodeError:
        raise Invalid(f"the {what} file {path} is no text in UTF-8") from None
    if not text.strip():
        raise Invalid(f"the {what} file {path} is empty")
    if len(text) > _LONGEST:
        raise Invalid(f"the {what} file {path} is longer than {_LONGEST} characters")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        note(f"others than its owner may read {path}: `chmod 600 {path}`")
    return text


def ask_password(repository: str, what: str = "password", option: str = "--password-file") -> str:
    """Asked twice at a terminal; elsewhere a usage error that says how to make a file."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"name the file with the repository's {what} by {option} F; {_HOW}")
    password: str = click.prompt(
        f"{what} of repository {repository}", hide_input=True, confirmation_prompt=True, err=True
    )
    return password
