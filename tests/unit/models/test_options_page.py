"""What docs/options.md tells users of other plugins to write has the result that they know."""

import re
from pathlib import Path

import pytest

from convoy_py.errors import InvalidOption
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.options import parse_options
from convoy_py.models.volume import Options

PAGE = Path(__file__).parents[3] / "docs" / "options.md"
SECTION = PAGE.read_text().partition("## From other plugins")[2]
# what one wrote, with which plugin -> what to write here
ROWS = {
    (wrote.strip("` "), plugin.strip("` ")): here.strip()
    for wrote, plugin, here in re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", SECTION, re.MULTILINE)
}


def given(line: str) -> dict[str, str]:
    """The pairs of `-o key=value -o key=value`."""
    pairs = re.findall(r"-o ([a-zA-Z_-]+)=(\S+)", line.partition("`, ")[0].strip("`"))
    return {key: value.rstrip("`") for key, value in pairs}


@pytest.mark.parametrize(
    ("wrote", "result"),
    [
        ("-o size=10G", Options(size=10**10, fs=Filesystem.XFS, sparse=False)),
        ("nothing", Options(size=2**30, fs=Filesystem.XFS, sparse=False)),
        (
            "-o size=10GiB -o fs=ext4 -o sparse=true",
            Options(size=10 * 2**30, fs=Filesystem.EXT4, sparse=True),
        ),
    ],
)
def test_what_docker_volume_loopback_made_of_its_options(wrote: str, result: Options) -> None:
    """Its `10G` is decimal, its space reserved, its defaults xfs and 1 GiB."""
    assert parse_options(given(ROWS[wrote, "docker-volume-loopback"])) == result


@pytest.mark.parametrize(
    "line", [here for here in ROWS.values() if here.startswith("`-o") and "…" not in here]
)
def test_every_line_that_is_told_can_be_written(line: str) -> None:
    """It is understood as it stands."""
    assert parse_options(given(line)) != Options()


@pytest.mark.parametrize(
    "wrote", [wrote for (wrote, _), here in ROWS.items() if here.startswith("refused")]
)
def test_what_is_said_to_be_refused_is(wrote: str) -> None:
    """The page does not promise an answer that is not given."""
    for line in wrote.split("`, `"):
        options = given(line.replace("…", "x"))
        with pytest.raises(InvalidOption):
            parse_options(options)
