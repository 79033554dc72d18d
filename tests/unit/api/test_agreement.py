"""The command line and the daemon speak of the same paths and messages."""

import re

import pytest

from convoy_py.api.routes import ROUTES
from convoy_py.cli import work
from convoy_py.cli.work import Work
from convoy_py.wire import copies as wire
from convoy_py.wire.admin import Message


@pytest.mark.parametrize(
    "asked",
    [
        work.snapshot("db", wire.CreateSnapshot()),
        work.snapshot_group(wire.CreateGroup(volumes=["db"])),
        work.rollback("db", wire.Rollback(snapshot="a")),
        work.clone("db", wire.CloneVolume(name="copy")),
        work.convert("db", wire.ConvertVolume(options={})),
        work.adopt(wire.Adopt(docker_volume="pg")),
        work.release(wire.Release(name="db")),
        work.diff("db", "a", "b"),
        work.restore_file("db", wire.RestoreFile(snapshot="a", path="etc")),
        work.resize("db", wire.ResizeVolume(size="1G")),
        work.trim("db"),
        work.trim_all(),
        work.space(),
    ],
    ids=lambda asked: asked.target,
)
def test_what_may_take_long_is_answered_as_expected(asked: Work[Message]) -> None:
    """One route takes the request, in that form, and its job comes to that message."""
    path = asked.target.partition("?")[0]
    (route,) = [
        route
        for route in ROUTES
        if route.method == asked.method
        and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route.path), path)
    ]
    assert (route.answer, route.result) == (wire.JobInfo, asked.answer)
    if asked.message is not None:
        assert route.form is type(asked.message)


def test_all_that_may_take_long_is_compared() -> None:
    """A route that is new has to come into the table above."""
    assert sum(route.result is not None for route in ROUTES) == 13
