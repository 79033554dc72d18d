"""Calls that do not see some mounts."""

from pathlib import Path
from threading import get_ident

import pytest

from convoy_py.linux import apart, mounts

pytestmark = pytest.mark.root


def test_mounts_are_hidden_from_the_call_alone(scratch: Path) -> None:
    """One that is gone already hides nothing else; for everybody else all is as it was."""
    hidden, seen = scratch / "hidden", scratch / "seen"
    for folder in (hidden, seen):
        folder.mkdir()
        mounts.mount("tmpfs", folder, "tmpfs", ())
    found = apart.without(
        [str(scratch / "none"), str(hidden)],
        lambda: [mounts.is_mountpoint(folder) for folder in (hidden, seen)],
    )
    assert found == [False, True]
    assert mounts.is_mountpoint(hidden)


def test_where_nothing_is_to_be_hidden_no_thread_is_started() -> None:
    assert apart.without([], get_ident) == get_ident()
