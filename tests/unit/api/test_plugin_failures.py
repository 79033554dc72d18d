"""How failures of the volume API are told to engines, and what each call leaves in the log."""

import asyncio
import logging
import os
from collections.abc import Callable

import pytest

from convoy_py.errors import (
    BrokenVolume,
    InUse,
    NoSpace,
    OperationFailed,
    StillRunning,
    Unavailable,
)
from tests.fakes import FakeVolumes
from tests.unit.api.volume_api import DEPENDS, assert_failed, message
from tests.unit.api.wire import Socket


@pytest.mark.parametrize("call", DEPENDS)
@pytest.mark.parametrize(
    "error",
    [
        NoSpace("the host is full"),
        InUse("held by pid 42"),
        BrokenVolume("db", "no image"),
        StillRunning("db", "mount", 25),
        OperationFailed("mount: \x1b[31mbad\x1b[0m\nsuperblock\x07"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_failures_are_500_with_one_printable_line_that_names_the_volume(
    plugin: Socket, engine: FakeVolumes, call: str, error: Exception
) -> None:
    """Podman takes an Err beside 200 for success, and Docker prints an Err raw."""
    engine.add("db")
    engine.failures[DEPENDS[call]] = error
    answer = await plugin.call(call, message(call))
    assert_failed(answer)
    if call != "List":
        assert "volume db" in answer.json["Err"]


@pytest.mark.parametrize("call", DEPENDS)
async def test_a_fault_of_ours_is_500_without_its_details(
    plugin: Socket, engine: FakeVolumes, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody foresaw is an error in the log with its traceback, and no secret in the Err."""
    engine.add("db")
    engine.failures[DEPENDS[call]] = RuntimeError("/secret/path")
    answer = await plugin.call(call, message(call))
    assert_failed(answer, "internal error")
    assert "secret" not in answer.json["Err"]
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert record.getMessage() == call.lower()


@pytest.mark.parametrize(
    "error",
    [RuntimeError("bug"), Unavailable("not now"), BrokenVolume("db", "?"), OSError(5, "I/O")],
    ids=repr,
)
async def test_get_drops_the_connection_rather_than_fail(
    plugin: Socket, engine: FakeVolumes, error: Exception
) -> None:
    """Any answer but success would be read as: the volume is gone, forget it and its labels."""
    engine.add("db")
    engine.failures["get"] = error
    assert await plugin.request("/VolumeDriver.Get", {"Name": "db"}) is None
    del engine.failures["get"]
    assert (await plugin.call("Get", {"Name": "db"})).status == 200


async def test_a_probe_without_a_byte_logs_nothing(
    plugin: Socket, caplog: pytest.LogCaptureFixture
) -> None:
    """Docker dials a managed plugin so whenever it is enabled."""
    caplog.set_level(logging.DEBUG)
    _, writer = await asyncio.open_unix_connection(plugin.path)
    writer.close()
    await writer.wait_closed()
    await plugin.call("Capabilities")
    ours = [record for record in caplog.records if record.name != "asyncio"]
    assert [record.getMessage() for record in ours] == ["capabilities"]


@pytest.mark.parametrize(
    ("call", "name", "level"),
    [
        ("Get", "db", "DEBUG"),
        ("Get", "nosuch", "DEBUG"),
        ("List", "", "DEBUG"),
        ("Path", "db", "DEBUG"),
        ("Path", "nosuch", "WARNING"),
        ("Activate", "", "INFO"),
        ("Create", "new", "INFO"),
        ("Mount", "nosuch", "WARNING"),
        ("Remove", "db", "INFO"),
    ],
)
async def test_each_call_is_one_line_and_one_metric(
    plugin: Socket,
    engine: FakeVolumes,
    caplog: pytest.LogCaptureFixture,
    counted: Callable[[], dict[str, float]],
    *,
    call: str,
    name: str,
    level: str,
) -> None:
    """Changes at info, reads at debug, failures at warning; an unknown volume in Get is usual.

    A change is a line of the audit log: who asked for what, and how it ended.
    """
    caplog.set_level(logging.DEBUG, "convoy")
    engine.add("db")
    await plugin.call(call, message(call, name))
    (record,) = [r for r in caplog.records if r.name.startswith("convoy")]
    assert (record.getMessage(), record.levelname) == (call.lower(), level)
    result = "not-found" if name == "nosuch" else "ok"
    if call in ("Create", "Remove", "Mount", "Unmount"):
        fields = vars(record)["convoy_fields"]
        assert (record.name, fields["api"]) == ("convoy.audit", "docker")
        assert (fields["uid"], fields["pid"]) == (os.getuid(), os.getpid())
        assert (fields["volume"], fields["result"]) == (name, result)
    else:
        assert record.name == "convoy.docker"
    assert counted() == {f'api="docker",operation="{call.lower()}",result="{result}"': 1.0}


async def test_bodies_and_option_values_are_not_logged(
    plugin: Socket, caplog: pytest.LogCaptureFixture
) -> None:
    """What users write into options is theirs."""
    caplog.set_level(logging.DEBUG)
    await plugin.call("Create", {"Name": "db", "Opts": {"uid": "31337"}})
    assert "31337" not in caplog.text + str([vars(r) for r in caplog.records])
