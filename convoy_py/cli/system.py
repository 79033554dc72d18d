"""The commands on the whole: what the daemon is, and the shell's completion."""

import click
from click.shell_completion import get_completion_class

from convoy_py.cli.options import output_options, without_json
from convoy_py.cli.output import say, show_json, show_table
from convoy_py.cli.session import Session
from convoy_py.models.sizes import format_size
from convoy_py.wire.admin import Info


@click.command(short_help="Show the daemon, its settings, space and backends.")
@output_options
@click.pass_obj
def info(session: Session) -> None:
    """Show the daemon, each setting with its source, the host's space and the backends.

    Tables on a terminal, else JSON.
    """
    told = session.client().info()
    if session.output.wants_json:
        show_json(told)
    else:
        _show(told)


def _show(told: Info) -> None:
    say("General")
    general = [(key.replace("_", " "), _text(value)) for key, value in told.general]
    show_table(("", ""), general)
    say("\nSettings")
    show_table(
        ("SETTING", "VALUE", "SOURCE"),
        [(key, _text(each.value), each.source) for key, each in told.settings.items()],
    )
    say("\nSpace below the root")
    show_table(("", ""), [(key.replace("_", " "), format_size(value)) for key, value in told.space])
    say("\nBackends")
    show_table(
        ("BACKEND", "", ""),
        [(name, key, value) for name, each in told.drivers.items() for key, value in each.items()],
    )


def _text(value: object) -> str:
    match value:
        case None | "" | [] | ():
            return "-"
        case list() | tuple():
            return ", ".join(map(str, value))
        case float():
            return f"{value:g}"
        case _:
            return str(value)


_COMPLETION = """Print the script that lets a shell complete commands, options and volume names.

\b
bash: eval "$(convoy completion bash)" in ~/.bashrc
zsh:  eval "$(convoy completion zsh)" in ~/.zshrc
fish: convoy completion fish > ~/.config/fish/completions/convoy.fish
"""


@click.command(help=_COMPLETION, short_help="Print the script for a shell's completion.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    without_json(context.ensure_object(Session), "completion", "its output is a script")
    chosen = get_completion_class(shell)
    assert chosen is not None, "click knows the three shells"
    script = chosen(context.find_root().command, {}, "convoy", "_CONVOY_COMPLETE")
    # Not script.source(): for bash that starts a bash, to look at its version.
    click.echo(script.source_template % script.source_vars())
