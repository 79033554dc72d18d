"""The `completion` command: the script by which a shell completes commands, options and names."""

import click
from click.shell_completion import get_completion_class

from convoy_py.cli.terminal.options import without_json
from convoy_py.cli.terminal.session import Session

# Click's, but that bash begins a word at "@", of which db@nightly has one: the words are joined
# again for the question, and of each answer bash is given what begins at the "@".
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' completion type value word before=""
    local -a words=()

    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if ((${#words[@]})) && [[ $word == @* || ${words[-1]} == *@ ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    if [[ $COMP_WORDBREAKS == *@* && ${words[-1]} == *@* ]]; then
        before=${words[-1]%%@*}
    fi

    for completion in $(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \
        %(complete_var)s=bash_complete "$1"); do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == plain ]]; then
            COMPREPLY+=("${value#"$before"}")
        else
            COMPREPLY=()
            compopt -o default
        fi
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_COMPLETION = """Print the script that lets a shell complete commands, options and names.

\b
bash: eval "$(convoy completion bash)" in ~/.bashrc
zsh:  eval "$(convoy completion zsh)" in ~/.zshrc
fish: convoy completion fish > ~/.config/fish/completions/convoy.fish
"""


@click.command(help=_COMPLETION)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    without_json(context.ensure_object(Session), "completion", "its output is a script")
    chosen = get_completion_class(shell)
    assert chosen is not None, "click knows the three shells"
    script = chosen(context.find_root().command, {}, "convoy", "_CONVOY_COMPLETE")
    # Not script.source(): for bash that starts a bash, to look at its version.
    template = _BASH if shell == "bash" else script.source_template
    click.echo(template % script.source_vars())
