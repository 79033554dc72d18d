"""The `convoy` command group: global options, and errors turned into one line and a code."""

import sys
from collections.abc import Callable
from typing import Any

import click

from convoy_py import __version__
from convoy_py.cli.terminal.exits import EXIT_CODES, INTERRUPTED, exit_code
from convoy_py.cli.terminal.later import Later
from convoy_py.cli.terminal.options import help_without_command
from convoy_py.cli.terminal.output import Output, complain, drop_output, have_streams, wants_color
from convoy_py.cli.terminal.session import Session
from convoy_py.errors import ConvoyError, Kind
from convoy_py.models.places import DEFAULT_SOCKET


class Application(click.Group):
    """A group that tells errors our way; `obj` of main() is the Serve of the daemon command."""

    def main(self, *arguments: Any, **extra: Any) -> Any:
        have_streams()
        extra["standalone_mode"] = False  # else click would tell errors its own way
        extra["prog_name"] = "convoy"
        sys.exit(_run(lambda: super(Application, self).main(*arguments, **extra)))


def _run(command: Callable[[], int | None]) -> int:
    """The exit code of `command`, its error told."""
    try:
        return command() or 0
    except ConvoyError as error:
        complain(str(error))
        return exit_code(error)
    except ValueError as error:
        complain(_refusal(error))
        return EXIT_CODES[Kind.INVALID]
    except click.ClickException as error:
        complain(_text(error))
        return error.exit_code
    except OSError as error:
        if error.filename is not None:
            raise
        # Where the reader of a pipe has gone, click has ended quietly.
        drop_output()
        complain(f"cannot write the answer: {error.strerror}; what was asked for is done")
        return EXIT_CODES[Kind.FAILED]
    except click.Abort:
        complain("interrupted; what the daemon has begun goes on, see `convoy jobs`")
        return INTERRUPTED


def _refusal(error: ValueError) -> str:
    """What a message of the wire refuses; raises any other error again."""
    from pydantic import ValidationError  # noqa: PLC0415 - where one was raised it is loaded

    if not isinstance(error, ValidationError):
        raise error
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{' '.join(map(str, first['loc']))}: {first['msg']}"


def _text(error: click.ClickException) -> str:
    if not isinstance(error, click.UsageError):
        return error.format_message()
    where = error.ctx.command_path if error.ctx else "convoy"
    return f"{error.format_message().rstrip('.')} (see `{where} --help`)"


@click.group(
    cls=Application,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--socket",
    "-s",
    metavar="PATH",
    help=f"the daemon's admin socket  [default: {DEFAULT_SOCKET}; env: CONVOY_SOCKET]",
)
@click.option("--debug", "-d", is_flag=True, help="tell each exchange with the daemon on stderr")
@click.option("--verbose", is_flag=True, help="the same as --json, as Convoy had it")
@click.option("--json", "as_json", is_flag=True, help="show JSON")
@click.version_option(__version__, "-v", "--version", message="convoy version %(version)s")
@click.pass_context
def convoy(
    context: click.Context, socket: str | None, debug: bool, verbose: bool, as_json: bool
) -> None:
    """Docker volumes that survive: directories and loopback images, one daemon.

    --json and --verbose may also stand after the command.
    """
    context.color = wants_color()
    context.obj = Session(
        serve=context.obj, socket=socket, debug=debug, output=Output(as_json, verbose)
    )
    help_without_command(context)


# Each with the module and the name that it has there.
_COMMANDS = (
    ("adopt", "copies", "adopt", "Take over volumes of Docker's own driver."),
    ("backup", "backups", "backup", "Backups: make, show, verify, delete."),
    ("clone", "copies", "clone", "Make a volume that begins as a copy of another."),
    ("completion", "completion", "completion", "Print the script for a shell's completion."),
    ("convert", "copies", "convert", "Change a volume's backend, filesystem or size."),
    ("create", "creation", "create", "Make a volume and print its name."),
    ("daemon", "daemon", "daemon", "Run the daemon in the foreground."),
    ("delete", "volumes", "delete", "Move volumes to the trash."),
    ("df", "space", "df", "Show where the space is, per volume and snapshot."),
    ("diff", "copies", "diff", "Show what came between two snapshots."),
    ("hosts", "daemon", "hosts", "Show the hosts that share the root."),
    ("info", "daemon", "info", "Show the daemon, its settings, space and backends."),
    ("inspect", "volumes", "inspect", "Show one volume as JSON."),
    ("jobs", "jobs", "jobs", "Long work: show it, cancel it."),
    ("list", "volumes", "list_volumes", "Show all volumes."),
    ("mount", "volumes", "mount", "Mount a volume on the host and print where."),
    ("protect", "volumes", "protect", "Keep a volume from being removed."),
    ("release", "copies", "release", "Give volumes to Docker's own driver."),
    ("rename", "volumes", "rename", "Give a volume another name."),
    ("repository", "repositories", "repository", "Repositories of backups: add, show, remove."),
    ("resize", "space", "resize", "Make a volume larger and print its new size."),
    ("restore", "restores", "restore", "Bring the data of a backup back."),
    ("restore-file", "copies", "restore_file", "Bring a file back from a snapshot or a backup."),
    ("rollback", "snapshots", "rollback", "Put a volume back to a snapshot."),
    ("schedule", "schedules", "schedule", "Schedules: set, show, remove."),
    ("snapshot", "snapshots", "snapshot", "Snapshots: make, show, delete."),
    ("takeover", "copies", "takeover", "Take a volume from a host that is dead."),
    ("trash", "trash", "trash", "Removed volumes: show, bring back, delete for good."),
    ("trim", "space", "trim", "Give freed blocks back to the host."),
    ("umount", "volumes", "umount", "End a hold of `convoy mount`."),
)
for name, module, attribute, short_help in _COMMANDS:
    convoy.add_command(Later(name, f"convoy_py.cli.commands.{module}", attribute, short_help))
