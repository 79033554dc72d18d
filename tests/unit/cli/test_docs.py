"""docs/cli.md tells the truth: every command, flag, default, exit code and example in it."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import click
import pytest

from convoy_py.cli.app import convoy
from convoy_py.cli.terminal.exits import EXIT_CODES, INTERRUPTED
from convoy_py.cli.terminal.later import Later
from convoy_py.cli.terminal.session import Session
from convoy_py.errors import Kind
from convoy_py.models.driver_options import DRIVER_OPTIONS
from convoy_py.models.sizes import format_size
from convoy_py.settings import Settings
from convoy_py.wire.volumes import VolumeInfo
from tests.unit.cli.conftest import Run
from tests.unit.cli.fake_daemon import FakeDaemon

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
REPOSITORY = Path(__file__).parents[3]
# Each to the next heading, whichever level that has.
SECTIONS = dict(re.findall(r"^##+ (.+?)\n(.*?)(?=^##+ |\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = sorted(set(re.findall(r"^\$ convoy (.+)$", PAGE, re.MULTILINE)))


def commands_of(group: click.Group, path: str = "") -> dict[str, click.Command]:
    """All commands by what is typed for them, groups too."""
    found: dict[str, click.Command] = {}
    for name, listed in group.commands.items():
        command = listed.load() if isinstance(listed, Later) else listed
        found[f"{path}{name}"] = command
        if isinstance(command, click.Group):
            found |= commands_of(command, f"{path}{name} ")
    return found


COMMANDS = commands_of(convoy)

_SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def typed(page: str) -> list[str]:
    """What of the command is typed in a page's blocks for the shell, without comments."""
    blocks = "".join(_SHELL.findall((REPOSITORY / page).read_text())).replace("\\\n", " ")
    return [line.split(" #")[0] for line in blocks.splitlines() if line.startswith("convoy ")]


@pytest.mark.parametrize("line", [*typed("docs/backups.md"), *typed("README.md")])
def test_what_a_page_has_for_the_shell_can_be_typed(line: str) -> None:
    """Each word is understood; nothing is asked of a daemon, and no file is read."""
    words = shlex.split(line.partition(" && ")[0])[1:]
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    assert not isinstance(COMMANDS[name], click.Group)
    COMMANDS[name].make_context(name, words[len(name.split()) :], obj=Session(serve=lambda _: 0))


def test_from_zero_to_a_backup_is_a_short_way() -> None:
    """In under ten commands, convoy's and others."""
    page = (REPOSITORY / "docs/backups.md").read_text()
    block = page.partition("## From zero")[2].partition("```sh\n")[2].partition("```")[0]
    commands = re.findall(r"^(?:convoy|mkdir|head|install) ", block, re.MULTILINE)
    assert 5 < len(commands) < 10


def test_the_layers_of_the_architecture_page_are_those_that_are_checked() -> None:
    """import-linter's file is the truth."""
    rules = (REPOSITORY / ".importlinter").read_text()
    checked = re.search(r"^layers =\n((?:    .*\n)+)", rules, re.MULTILINE)
    told = re.search(
        r"^`__main__` → .*\n.*$", (REPOSITORY / "docs/architecture.md").read_text(), re.M
    )
    assert checked is not None
    assert told is not None
    layers = [line.strip() for line in checked.group(1).splitlines()]
    assert [layer.strip(" `\n") for layer in told.group().split("→")] == layers


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "README.md"])
def test_what_a_page_names_of_the_repository_is_there(page: str) -> None:
    """Files, folders and links: whoever follows them arrives."""
    text = (REPOSITORY / page).read_text()
    folders = [path.name for path in REPOSITORY.glob("[a-z]*") if path.is_dir()]
    named = re.findall(rf"(?<![\w/.-])(?:{'|'.join(folders)})/[\w/.-]*\w", text)
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [path for path in {*named, *linked} if not (REPOSITORY / path).exists()] == []
    assert page == "README.md" or len(named) + len(linked) > 5


def test_files_that_the_architecture_page_names_by_their_folder_are_there() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text()
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", text))
    roots = (REPOSITORY, REPOSITORY / "convoy_py")
    assert len(named) > 5
    assert [path for path in named if not any((root / path).exists() for root in roots)] == []


def flags(text: str) -> set[str]:
    """The flags that stand in backticks, at the beginning of what is quoted."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    quoted = re.findall(r"`([^`]+)`", prose)
    return {match.group() for q in quoted if (match := re.match(r"--?[a-z][a-z0-9-]*", q))}


def options(command: click.Command) -> set[str]:
    return {
        name
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


def test_the_list_of_changes_is_not_torn() -> None:
    """Two branches that change a line of it get both, and no conflict."""
    lines = (REPOSITORY / "CHANGELOG.md").read_text().splitlines()
    told = [line for line in lines if line.strip()]
    assert [line for line in set(told) if told.count(line) > 1] == []
    torn = [
        line
        for before, line in pairwise(lines)
        if before.endswith(".") and line.startswith("  ") and line.strip()[0].islower()
    ]
    assert torn == []


def test_every_command_has_its_section_and_no_other_has() -> None:
    """A command that is new or gone shows here."""
    documented = {title.removeprefix("convoy ") for title in SECTIONS if title.startswith("convoy")}
    assert documented == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_a_command_stands_in_its_section(name: str) -> None:
    """Refused ones too: a user of Convoy looks for them."""
    assert options(COMMANDS[name]) - flags(SECTIONS[f"convoy {name}"]) == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_table_names_a_flag_that_is_not_there(name: str) -> None:
    """The first column of a command's tables holds its own flags alone."""
    first_columns = re.findall(r"^\| (`-.*?) \|", SECTIONS[f"convoy {name}"], re.MULTILINE)
    assert flags(" ".join(first_columns)) - options(COMMANDS[name]) == set()


def test_the_global_options() -> None:
    """They have their own section."""
    assert flags(SECTIONS["Global options"]) == {*options(convoy), "-h", "--help"}


def test_the_table_of_exit_codes_is_the_codes_of_the_code() -> None:
    """Kind by kind."""
    rows = re.findall(r"^\| (\d+) \| ?`?([a-z-]*)`? ?\|", SECTIONS["Exit codes"], re.MULTILINE)
    expected = {(str(code), kind.value) for kind, code in EXIT_CODES.items()}
    assert set(rows) == expected | {("0", ""), (str(INTERRUPTED), "")}
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("key", Settings.model_fields)
def test_each_setting_stands_with_its_description_and_default(key: str) -> None:
    """The page, the help and the model say the same."""
    field = Settings.model_fields[key]
    flag = key.replace("_", "-")
    row = re.search(
        rf"^\| `--{flag}(?: .*?)?` \| (.*) \| (.*?) ?\|$", SECTIONS["convoy daemon"], re.MULTILINE
    )
    assert row is not None
    assert row.group(1) == field.description
    match field.default:
        case None | () | False:
            default = ""
        case tuple() as values:
            default = f"`{','.join(values)}`"
        case int() as size if size > 2**20:
            default = f"`{format_size(size)}`"
        case value:
            default = f"`{value}`"
    assert row.group(2) == default


def test_convoys_driver_options_stand_with_their_settings() -> None:
    """All of them, and no others."""
    rows = re.findall(
        r"^\| `([a-z]+\.[a-z]+)` \| `(\w+)` \|$", SECTIONS["convoy daemon"], re.MULTILINE
    )
    assert dict(rows) == DRIVER_OPTIONS


def test_the_keys_of_a_volume() -> None:
    """As they are on the wire."""
    for field in VolumeInfo.model_fields.values():
        assert f"`{field.alias}`" in SECTIONS["Output"]


def test_every_command_has_a_row_for_its_output() -> None:
    """Nobody need guess what goes to stdout."""
    rows = re.findall(r"^\| `([a-z -]+)` \|", SECTIONS["Output"], re.MULTILINE)
    only_help = {"backup", "repository", "repository key", "schedule", "snapshot", "trash"}
    assert sorted(rows) == sorted(set(COMMANDS) - only_help)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_can_be_typed(run: Run, daemon: FakeDaemon, example: str) -> None:
    """The command understands it and asks the daemon, which here knows of nothing."""
    result = run(*shlex.split(example))
    assert result.exit_code == EXIT_CODES[Kind.NOT_FOUND], result.stderr
    assert daemon.requests


def test_there_are_examples() -> None:
    """The pattern finds them."""
    assert len(EXAMPLES) > 20
