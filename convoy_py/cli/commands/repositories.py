"""The commands on repositories: add, list, inspect, remove; their keys; unlock."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from convoy_py import wire
from convoy_py.cli.client.answers import Told
from convoy_py.cli.terminal.arguments import not_empty, repository_argument
from convoy_py.cli.terminal.jobs import no_wait_option, run
from convoy_py.cli.terminal.options import help_without_command, output_options
from convoy_py.cli.terminal.output import moment, note, say, show_json, show_table
from convoy_py.cli.terminal.secrets import ask_password, read_secret
from convoy_py.cli.terminal.session import Session
from convoy_py.cli.terminal.several import delete_each
from convoy_py.models.names import check_name
from convoy_py.wire.endpoints import (
    ADD_KEY,
    ADD_REPOSITORY,
    INSPECT_REPOSITORY,
    LIST_KEYS,
    LIST_REPOSITORIES,
    REMOVE_KEY,
    REMOVE_REPOSITORY,
    UNLOCK,
)

if TYPE_CHECKING:
    from convoy_py.wire.repositories import KeyInfo, RepositoryInfo

F = TypeVar("F", bound=Callable[..., Any])


@click.group(invoke_without_command=True)
@click.pass_context
def repository(context: click.Context) -> None:
    """Repositories, in which backups lie: add one under a name, show them, forget one.

    They are restic's: what convoy writes, every restic reads with the same password.
    """
    help_without_command(context)


_SCHEME = re.compile(r"[a-z0-9+]+:")


def _whole(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A path of the host from its root: the daemon stands elsewhere."""
    value = not_empty(context, parameter, value)
    return value if value is None or _SCHEME.match(value) else str(Path(value).absolute())


def _place(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Where a repository is; no server of which the scheme was forgotten becomes a folder."""
    first, below, _ = value.partition("/")
    if first and below and not _SCHEME.match(value) and not Path(first).is_dir():
        raise click.BadParameter(
            f"there is no folder {first} here; if it is a server, give s3:https://{value} or "
            f"rest:https://{value}"
        )
    whole = _whole(context, parameter, value)
    assert whole is not None  # it is required
    return whole


def _file_option(flag: str, text: str) -> Callable[[F], F]:
    return click.option(flag, type=click.Path(), metavar="F", callback=_whole, help=text)


@repository.command(short_help="Open a repository, or make it, under a name.")
@click.argument("name")
@click.argument("location", callback=_place)
@_file_option("--password-file", "the file with its password; without it a terminal is asked")
@_file_option("--credentials-file", "the file with what its storage asks for, lines of NAME=VALUE")
@click.option("--keeper", is_flag=True, help="this host prunes it from now on")
@no_wait_option
@output_options
@click.pass_obj
def add(
    session: Session,
    /,
    *,
    name: str,
    location: str,
    password_file: str | None,
    credentials_file: str | None,
    keeper: bool,
    no_wait: bool,
) -> None:
    """Open the repository at LOCATION, or make one there, and know it as NAME; print that.

    LOCATION is as for `restic -r`: /path, s3:https://server/bucket/path, rest:https://server/path.
    The files are read at each use. Where the daemon does not see one, such as in a managed
    plugin, it keeps what the file holds now, and a line on stderr says so.
    """
    check_name(name, "repository")
    if password_file is None:
        password = ask_password(name)
    else:
        password = read_secret("password", password_file)
    wanted = wire.repositories.AddRepository(
        name=name,
        location=location,
        password_file=password_file or "",
        password=password,
        credentials_file=credentials_file or "",
        credentials=read_secret("credentials", credentials_file) if credentials_file else "",
        keeper=keeper,
    )
    added = run(session, ADD_REPOSITORY, wanted, no_wait=no_wait)
    session.output.answer(added.name, added)
    _tell_kept(added, bool(credentials_file))


def _tell_kept(added: "RepositoryInfo", credentials: bool) -> None:
    kept = [] if added.password_file else ["password"]
    kept += ["credentials"] if credentials and not added.credentials_file else []
    if kept:
        note(
            f"the daemon keeps the {' and the '.join(kept)} of {added.name} below its root, for "
            "root alone; keep a copy elsewhere: without the password no backup can be read"
        )


@repository.command("list", short_help="Show the repositories that are known.")
@output_options
@click.pass_obj
def list_repositories(session: Session) -> None:
    """Show the repositories that are known here: a table on a terminal, else JSON."""
    found = session.client().look(LIST_REPOSITORIES).each("Repositories")
    if session.output.wants_json:
        show_json(found)
    else:
        show_table(map(_row, found), ("NAME", "LOCATION", "PASSWORD", "ADDED", "ID"))


def _row(each: Told) -> tuple[str, ...]:
    return (
        each.read("Name", str),
        each.read("Location", str),
        each.read("PasswordFile", str) or "kept",
        moment(each.read("Created", str)),
        each.read("Id", str)[:8],
    )


@repository.command(short_help="Show one repository as JSON.")
@repository_argument()
@output_options
@click.pass_obj
def inspect(session: Session, name: str) -> None:
    """Show one repository: JSON, with or without --json. Nothing in it is secret."""
    show_json(session.client().look(INSPECT_REPOSITORY, of=name).having("Name"))


@repository.command(short_help="Forget repositories.")
@repository_argument("names", nargs=-1, required=True, metavar="NAME...")
@output_options
@click.pass_obj
def remove(session: Session, names: tuple[str, ...]) -> None:
    """Forget repositories, with the secrets that are kept of them, and print their names.

    The repositories stay as they are, with all backups in them.
    """
    client = session.client()
    _, code = delete_each(
        session, names, lambda name: client.ask(REMOVE_REPOSITORY, of=name), "remove"
    )
    click.get_current_context().exit(code)


@repository.group(invoke_without_command=True, short_help="Passwords: show, add, remove.")
@click.pass_context
def key(context: click.Context) -> None:
    """The passwords by which a repository opens, each a key of its own: show, add, remove."""
    help_without_command(context)


@key.command("list", short_help="Show the keys of a repository.")
@repository_argument()
@no_wait_option
@output_options
@click.pass_obj
def list_keys(session: Session, name: str, no_wait: bool) -> None:
    """Show the keys of a repository: who made each, and when. A table on a terminal, else JSON."""
    found = run(session, LIST_KEYS, of=name, no_wait=no_wait).keys
    if session.output.wants_json:
        show_json(found)
    else:
        show_table(map(_key_row, found), ("ID", "USER", "HOST", "CREATED", "IN USE"))


def _key_row(each: "KeyInfo") -> tuple[str, ...]:
    used = "here" if each.in_use else ""
    return each.id[:8], each.user, each.host, moment(each.created), used


@key.command("add", short_help="Have a repository open by one more password.")
@repository_argument()
@_file_option("--new-password-file", "the file with the new one; without it a terminal is asked")
@no_wait_option
@output_options
@click.pass_obj
def add_key(session: Session, name: str, new_password_file: str | None, no_wait: bool) -> None:
    """Have a repository open by one more password, and print the new key's id.

    The password that is known here stays in use. To change it: add one, write it into the password
    file (or `repository add` with another file), then remove the old key.
    """
    if new_password_file is None:
        password = ask_password(name, "new password", "--new-password-file")
    else:
        password = read_secret("password", new_password_file)
    wanted = wire.repositories.AddKey(password=password)
    added = run(session, ADD_KEY, wanted, of=name, no_wait=no_wait)
    session.output.answer(added.id[:8], added)


@key.command("remove", short_help="Have a repository open by a password no longer.")
@repository_argument()
@click.argument("id_", metavar="KEY", callback=not_empty)
@no_wait_option
@output_options
@click.pass_obj
def remove_key(session: Session, name: str, id_: str, no_wait: bool) -> None:
    """Remove a key by the first digits of its id, as `list` shows them, and print its id.

    The key of the password that is known here stays. Who had a removed password and read the
    repository with it may have kept what opens it: only a new repository keeps those out.
    """
    wanted = wire.repositories.RemoveKey(key=id_)
    gone = run(session, REMOVE_KEY, wanted, of=name, no_wait=no_wait)
    session.output.answer(gone.id[:8], gone)


@repository.command(short_help="Remove the locks of those who are gone.")
@repository_argument()
@click.option("--remove-all", is_flag=True, help="also those of who may be working there now")
@no_wait_option
@output_options
@click.pass_obj
def unlock(session: Session, name: str, remove_all: bool, no_wait: bool) -> None:
    """Remove stale locks: those that nobody refreshed for half an hour, and our own of a crash.

    Prints the ids of those that are gone, and tells on stderr who has those that stay. With
    --remove-all none stays: only for somebody who knows that none of their owners works any more.
    """
    done = run(session, UNLOCK, wire.repositories.Unlock(all=remove_all), of=name, no_wait=no_wait)
    if session.output.asked_json:
        show_json(done)
    else:
        for each in done.unlocked:
            say(each.id[:8])
    for each in done.unlocked if remove_all else ():
        note(f"removed the lock {each.told}: if that one works still, its backup may be lost")
    for each in done.locked:
        note(f"still locked {each.told}")
