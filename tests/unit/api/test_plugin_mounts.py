"""Mount: whose it is, and what becomes of it when nobody waits for the answer."""

import asyncio
import json

import pytest

from convoy_py.engine.memory.references import NO_ID
from convoy_py.linux import peers
from tests.fakes import FakeVolumes
from tests.unit.api.volume_api import ID, assert_failed, message
from tests.unit.api.wire import DOCKER, Socket


async def test_mounts_of_one_engine_have_one_epoch(plugin: Socket, engine: FakeVolumes) -> None:
    """Two connections of one process are one life of an engine; an activation does not end it."""
    engine.add("db")
    await plugin.call("Mount", message("Mount"))
    await plugin.call("Activate")
    await plugin.call("Mount", message("Mount"))
    (_, first, one), (_, second, two) = engine.holds
    assert (first, one) == (second, two) == (ID, one)
    pid, _, start = one.partition(":")
    assert pid.isdecimal()
    assert start.isdecimal()


async def test_an_engine_that_cannot_be_seen_begins_a_life_with_its_activation(
    plugin: Socket, engine: FakeVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another pid namespace the kernel shows pid 0."""
    monkeypatch.setattr(peers, "peer", lambda sock: peers.Peer(0, 0, 0))
    engine.add("db")
    await plugin.call("Mount", message("Mount"))
    await plugin.call("Mount", message("Mount"))
    await plugin.call("Activate")
    await plugin.call("Mount", message("Mount"))
    first, second, third = (epoch for _, _, epoch in engine.holds)
    assert first == second != third


async def test_a_mount_whose_client_has_gone_is_taken_back(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """The engine gave up waiting, so it will never send the Unmount."""
    engine.add("db")
    engine.gate.clear()
    _, writer = await asyncio.open_unix_connection(plugin.path)
    body = json.dumps(message("Mount")).encode()
    head = f"POST /VolumeDriver.Mount HTTP/1.1\r\n{DOCKER}Content-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await engine.entered.wait()
    writer.close()
    await writer.wait_closed()
    await plugin.call("List")  # by now the loop has seen the connection end
    assert engine.released == []
    engine.gate.set()
    await plugin.call("List")
    assert [(volume, held) for volume, held, _ in engine.released] == [
        ("db", message("Mount")["ID"])
    ]
    assert engine.holds == []


@pytest.mark.parametrize("no_id", [{}, {"ID": ""}, {"ID": None}], ids=["absent", "empty", "null"])
async def test_without_an_id_there_is_one_reference(
    plugin: Socket, engine: FakeVolumes, no_id: dict[str, object]
) -> None:
    """Calls made by hand, and those of the tests of go-plugins-helpers, have none."""
    engine.add("db")
    answer = await plugin.call("Mount", {"Name": "db", **no_id})
    assert answer.json["Mountpoint"] == "/run/convoy/mounts/db/data"
    assert [(volume, held) for volume, held, _ in engine.holds] == [("db", NO_ID)]
    assert (await plugin.call("Unmount", {"Name": "db", **no_id})).status == 200
    assert engine.holds == []


async def test_a_mount_whose_client_waits_is_kept(plugin: Socket, engine: FakeVolumes) -> None:
    """Slow is not gone."""
    engine.add("db")
    engine.gate.clear()
    waiting = asyncio.create_task(plugin.call("Mount", message("Mount")))
    await engine.entered.wait()
    engine.gate.set()
    assert (await waiting).json["Mountpoint"] == "/run/convoy/mounts/db/data"
    assert engine.released == []


async def test_mount_never_answers_a_path_that_is_not_absolute(
    plugin: Socket, engine: FakeVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an empty path the engine would mount a folder of its own into the container."""

    async def nowhere(name: str, reference: str, epoch: str) -> str:
        return ""

    monkeypatch.setattr(engine, "mount", nowhere)
    assert_failed(await plugin.call("Mount", message("Mount")), "volume db")
