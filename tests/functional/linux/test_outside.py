"""Where the host has what a mount namespace of its own shows under another name."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from convoy_py.linux import outside

pytestmark = pytest.mark.root

SHOWN = """
import json, sys
from pathlib import Path
from convoy_py.linux import outside
seen = outside.look([Path(folder) for folder in json.loads(sys.argv[1])])
print(json.dumps([seen.path(path) for path in json.loads(sys.argv[2])]))
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that process 1 has too, unlike those in the tests' own mount namespace."""
    with TemporaryDirectory(prefix="convoy-outside-", dir="/var/tmp") as name:
        yield Path(name)


def seen(script: str, folders: list[str], paths: list[str]) -> list[str]:
    """What `paths` are outside of a namespace that `script` has furnished."""
    argv = [sys.executable, "-c", SHOWN, json.dumps(folders), json.dumps(paths)]
    private = ["unshare", "--mount", "--propagation", "private", "sh", "-ec"]
    run = subprocess.run(
        [*private, f'{script}\nexec "$@"', "sh", *argv], check=True, capture_output=True, text=True
    )
    return list(json.loads(run.stdout))


def test_a_bind_mount_is_found_where_it_came_from(tmp_path: Path) -> None:
    """With all that lies on the same mount; what agrees stays as it is."""
    state, here = tmp_path / "state", tmp_path / "here"
    (state / "convoy").mkdir(parents=True)
    here.mkdir()
    told = seen(
        f"mount --bind {state} {here}",
        [f"{here}/convoy", str(tmp_path)],
        [f"{here}/convoy/volumes/db", f"{here}/other/db", f"{tmp_path}/x", "/srv", ""],
    )
    assert told == [f"{state}/convoy/volumes/db", f"{state}/other/db", f"{tmp_path}/x", "/srv", ""]


def test_a_folder_of_another_name_is_found_alone(tmp_path: Path) -> None:
    """A propagated mount's own folder has its own name."""
    state, here = tmp_path / "propagated-mount", tmp_path / "mnt"
    state.mkdir()
    here.mkdir()
    told = seen(f"mount --bind {state} {here}", [str(here)], [f"{here}/volumes/db"])
    assert told == [f"{state}/volumes/db"]


def test_what_the_host_does_not_have_is_told_as_it_is(tmp_path: Path) -> None:
    """A filesystem of this namespace alone has no other name."""
    told = seen(f"mount -t tmpfs t {tmp_path}", [str(tmp_path)], [f"{tmp_path}/db"])
    assert told == [f"{tmp_path}/db"]


def test_what_the_host_has_covered_is_not_told(tmp_path: Path) -> None:
    """A path that leads to another filesystem there is no name of the folder."""
    below, here = tmp_path / "below", tmp_path / "here"
    below.mkdir()
    here.mkdir()
    covered = f"mount --bind {tmp_path} {here}\nmount -t tmpfs t {below}"
    told = seen(covered, [f"{here}/below", str(below)], [f"{here}/below/db", f"{below}/db"])
    assert told == [f"{below}/db", f"{below}/db"]


def test_in_the_hosts_own_namespace_nothing_differs(tmp_path: Path) -> None:
    """Nor is a folder that is not there an error."""
    assert outside.look([tmp_path, tmp_path / "missing"]) == outside.Outside()
