"""The `convoy` command group: global options, and errors turned into one line and a code."""

import sys
from collections.abc import Callable
from typing import Any

import click
from pydantic import ValidationError

from convoy_py import __version__
from convoy_py.cli.commands.completion import completion
from convoy_py.cli.commands.copies import adopt, clone, convert, diff, release, restore_file
from convoy_py.cli.commands.daemon import daemon, info
from convoy_py.cli.commands.jobs import jobs
from convoy_py.cli.commands.snapshots import rollback, snapshot
from convoy_py.cli.commands.space import df, resize, trim
from convoy_py.cli.commands.trash import trash
from convoy_py.cli.commands.volumes import (
    create,
    delete,
    inspect,
    list_volumes,
    mount,
    protect,
    rename,
    umount,
)
from convoy_py.cli.terminal.exits import EXIT_CODES, INTERRUPTED, exit_code
from convoy_py.cli.terminal.options import help_without_command
from convoy_py.cli.terminal.output import Output, complain, drop_output, have_streams, wants_color
from convoy_py.cli.terminal.session import Session
from convoy_py.config import DEFAULT_SOCKET
from convoy_py.errors import ConvoyError, Kind


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
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        complain(f"{' '.join(map(str, first['loc']))}: {first['msg']}")
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


for command in (
    adopt,
    clone,
    completion,
    convert,
    create,
    daemon,
    delete,
    df,
    diff,
    info,
    inspect,
    jobs,
    list_volumes,
    mount,
    protect,
    release,
    rename,
    resize,
    restore_file,
    rollback,
    snapshot,
    trash,
    trim,
    umount,
):
    convoy.add_command(command)
