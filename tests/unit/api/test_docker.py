"""The volume API as the engines see it: status, headers, body and connection of every answer."""

import asyncio
import json
import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from convoy_py.api import requests
from convoy_py.errors import (
    BrokenVolume,
    InUse,
    NoSpace,
    OperationFailed,
    StillRunning,
    Unavailable,
)
from convoy_py.linux import peers
from convoy_py.models.options import help_line
from convoy_py.models.volume import Filesystem, Options, Spec, Usage
from tests.fakes import NOW, FakeVolumes
from tests.unit.api.wire import DOCKER, PODMAN, Answer, Socket, answer_in

ID = "f00d" * 16
NAMED = ("Create", "Remove", "Mount", "Unmount", "Path", "Get")
ALL = ("Activate", "Capabilities", "List", *NAMED)
# What each call asks of the engine.
DEPENDS = {"Create": "create", "Remove": "remove", "Mount": "mount", "Unmount": "unmount"}
DEPENDS |= {"Path": "get", "List": "list"}


def message(call: str, name: str = "db") -> dict[str, Any]:
    if call in {"Mount", "Unmount"}:
        return {"Name": name, "ID": ID}
    if call == "Create":
        return {"Name": name, "Opts": None}
    return {"Name": name} if call in NAMED else {}


def assert_failed(answer: Answer | None, *parts: str) -> None:
    assert answer is not None
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/vnd.docker.plugins.v1.2+json"
    assert list(answer.json) == ["Err"]
    assert answer.json["Err"].isprintable()
    for part in parts:
        assert part in answer.json["Err"]


async def test_a_volume_lives_through_the_whole_protocol(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """Docker's usual sequence of calls gets the bodies that Docker expects."""
    told = {
        "Activate": {"Implements": ["VolumeDriver"]},
        "Capabilities": {"Capabilities": {"Scope": "local"}},
        "Create": {"Err": ""},
        "Mount": {"Mountpoint": "/run/convoy/mounts/db/data", "Err": ""},
        "Path": {"Mountpoint": "/run/convoy/mounts/db/data", "Err": ""},
        "List": {
            "Volumes": [{"Name": "db", "Mountpoint": "/run/convoy/mounts/db/data"}],
            "Err": "",
        },
        "Unmount": {"Err": ""},
        "Remove": {"Err": ""},
    }
    for call, body in told.items():
        answer = await plugin.call(call, message(call))
        assert (answer.status, answer.json) == (200, body), call
    assert engine.known == {}


@pytest.mark.parametrize("call", ALL)
async def test_every_answer_closes_its_connection(
    plugin: Socket, engine: FakeVolumes, call: str
) -> None:
    """A kept connection, closed under an engine, would make it retry with an empty body."""
    engine.add("db")
    for body in (message(call), message(call, "nosuch")):
        answer = await plugin.call(call, body)
        assert answer.headers["connection"] == "close"
        assert answer.headers["content-type"] == "application/vnd.docker.plugins.v1.2+json"


async def test_a_pipelined_second_request_is_not_answered(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """The connection is closed after the first answer, whatever else was sent on it."""
    one = f"POST /VolumeDriver.List HTTP/1.1\r\n{DOCKER}Content-Length: 0\r\n\r\n".encode()
    answer = answer_in(await plugin.exchange(one + one))
    assert answer is not None
    assert answer.json == {"Volumes": [], "Err": ""}


async def test_get_tells_all_that_is_known(plugin: Socket, engine: FakeVolumes) -> None:
    """Name, mountpoint, an RFC 3339 time, and a Status with the sizes and their age."""
    spec = Spec(backend="loopback", size=2**60, fs=Filesystem.XFS, sparse=True, mode=0o750)
    usage = Usage(size=2**60, used=5, available=2**54, allocated=4096, sampled=NOW - 3)
    engine.add("db", spec=spec, usage=usage)
    answer = await plugin.call("Get", {"Name": "db"})
    assert answer.status == 200
    assert answer.json["Err"] == ""
    volume = answer.json["Volume"]
    assert volume["Name"] == "db"
    assert volume["Mountpoint"] == ""
    assert volume["CreatedAt"] == "2026-01-02T03:04:05Z"
    assert volume["Status"] == {
        "backend": "loopback",
        "filesystem": "xfs",
        "size": str(2**60),  # float64 would not hold it in general
        "used": 5,
        "available": str(2**54),
        "allocated": 4096,
        "usageAge": 10,
        "references": 0,
        "state": "ready",
        "options": {
            "backend": "loopback",
            "size": "1024PiB",
            "fs": "xfs",
            "sparse": "true",
            "mode": "0750",
        },
    }


async def test_get_of_a_broken_volume_succeeds_and_says_why(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """An engine forgets a volume whose Get fails, so a broken one is told in its Status."""
    engine.add("db")
    engine.break_("db", "volume.json: not JSON")
    answer = await plugin.call("Get", {"Name": "db"})
    assert answer.status == 200
    assert answer.json["Volume"]["CreatedAt"] is None
    status = answer.json["Volume"]["Status"]
    assert (status["state"], status["reason"]) == ("broken", "volume.json: not JSON")


@pytest.mark.parametrize(
    "name", ["nosuch", "../../etc", "/abs", "a/b", "", ".", "Ünïcode", "a\nb", "\0", "x" * 300]
)
async def test_get_of_what_is_no_volume_says_so(
    plugin: Socket, engine: FakeVolumes, name: str
) -> None:
    """Each `docker run -v NAME:/x` asks every plugin: the answer is the same for odd names."""
    assert_failed(await plugin.call("Get", {"Name": name}), "no such volume")


@pytest.mark.parametrize("name", ["../x", "", "a/b", "-dash", "with space", "a\n", "x" * 129])
async def test_create_refuses_a_bad_name(plugin: Socket, engine: FakeVolumes, name: str) -> None:
    """Such a volume could neither be inspected nor removed by Docker again."""
    assert_failed(await plugin.call("Create", message("Create", name)), "invalid volume name")
    assert engine.known == {}


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


@pytest.mark.parametrize("call", [c for c in NAMED if c != "Get"])
async def test_an_empty_body_is_told_as_a_lost_one(
    plugin: Socket, engine: FakeVolumes, call: str
) -> None:
    """An engine's retry lost the body; which volume was meant nobody knows."""
    assert_failed(await plugin.call(call, b""), "request body lost in an engine retry")
    assert engine.known == {}


async def test_an_empty_body_on_get_closes_the_connection(
    plugin: Socket, engine: FakeVolumes, caplog: pytest.LogCaptureFixture
) -> None:
    """Docker then keeps the volume's record and reports the trouble."""
    assert await plugin.request("/VolumeDriver.Get", b"") is None
    assert [r.levelname for r in caplog.records] == ["WARNING"]


BAD_BODIES = {
    "half": b'{"Name":"db"',
    "list": b"[]",
    "string": b'"db"',
    "null": b"null",
    "no name": b"{}",
    "null name": b'{"Name":null,"ID":"x"}',
    "number as name": b'{"Name":7,"ID":"x"}',
    "object as name": b'{"Name":{},"ID":"x"}',
    "not UTF-8": b'{"Name":"\xff","ID":"x"}',
    "lone surrogate": b'{"Name":"\\ud800","ID":"x"}',
    "nested lists": b"[" * 60_000,
    "nested objects": b'{"Name":' * 7_000,
    "large number": b'{"Name":' + b"9" * 60_000 + b"}",
    "too large": json.dumps({"Name": "db", "ID": "x" * requests.LARGEST_BODY}).encode(),
}


@pytest.mark.parametrize("call", NAMED)
@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_a_malformed_body_is_an_error(
    plugin: Socket, engine: FakeVolumes, call: str, body: bytes
) -> None:
    """It is never taken for a volume named "", and never brings the daemon down."""
    target = f"/VolumeDriver.{call}"
    answer = await plugin.request(target, body)
    if call == "Get":
        assert answer is None
    else:
        assert_failed(answer, "request")
    assert engine.known == {}
    assert (await plugin.call("List")).status == 200


@pytest.mark.parametrize("options", [{"size": 5}, {"size": None}, [], "size=1G"], ids=repr)
async def test_create_refuses_options_that_are_not_text(
    plugin: Socket, engine: FakeVolumes, options: object
) -> None:
    """Engines send texts only; what else comes is not guessed at."""
    assert_failed(await plugin.call("Create", {"Name": "db", "Opts": options}), "Opts")


@pytest.mark.parametrize("opts", [{}, {"Opts": None}, {"Opts": {}}], ids=["absent", "null", "{}"])
async def test_no_options_in_each_of_the_engines_forms(
    plugin: Socket, engine: FakeVolumes, opts: dict[str, object]
) -> None:
    """Podman leaves the key out, Docker's CLI sends null, its API an empty object."""
    answer = await plugin.call("Create", {"Name": "db", **opts}, headers=PODMAN)
    assert answer.status == 200
    assert engine.asked["db"] == Options()


async def test_podmans_upper_case_options_are_understood(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """`podman volume create -o o=uid=1,size=5M` arrives both packed and in capitals."""
    opts = {"SIZE": "5M", "UID": "1", "o": "uid=1,size=5M"}
    answer = await plugin.call("Create", {"Name": "db", "Opts": opts}, headers=PODMAN)
    assert answer.status == 200
    assert engine.asked["db"] == Options(size=5 * 2**20, uid=1)


async def test_podmans_empty_list_is_served(plugin: Socket, engine: FakeVolumes) -> None:
    """Podman sends List without a body."""
    assert (await plugin.call("List", b"", headers=PODMAN)).json["Volumes"] == []


@pytest.mark.parametrize("call", ["Activate", "Capabilities", "List"])
@pytest.mark.parametrize("body", [b"", b"{}\n", b"[" * 3000, b"\xff"], ids=repr)
async def test_calls_without_a_message_do_not_look_at_the_body(
    plugin: Socket, engine: FakeVolumes, call: str, body: bytes
) -> None:
    """Activate hangs an engine for ever and List is harmless: both always answer."""
    assert (await plugin.call(call, body)).status == 200


async def test_wrong_options_are_refused_with_what_is_allowed(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """A user learns from `docker volume create` itself what may be written."""
    answer = await plugin.call("Create", {"Name": "db", "Opts": {"sise": "1G"}})
    assert_failed(answer, "volume db: ", "'sise'", "size, fs")
    answer = await plugin.call("Create", {"Name": "db", "Opts": {"help": ""}})
    assert answer.json == {"Err": help_line()}
    assert engine.known == {}


async def test_create_with_other_options_names_them(plugin: Socket, engine: FakeVolumes) -> None:
    """The same again is fine; something else is told."""
    await plugin.call("Create", {"Name": "db", "Opts": {"size": "1G"}})
    assert (await plugin.call("Create", {"Name": "db", "Opts": {"size": "1G"}})).status == 200
    answer = await plugin.call("Create", {"Name": "db", "Opts": {"size": "2G"}})
    assert_failed(answer, "size is 1GiB, asked 2GiB")


@pytest.mark.parametrize("call", ["Remove", "Unmount"])
async def test_ending_what_is_not_there_succeeds(
    plugin: Socket, engine: FakeVolumes, call: str
) -> None:
    """Engines repeat these calls; the second is done already."""
    assert (await plugin.call(call, message(call, "nosuch"))).json == {"Err": ""}


@pytest.mark.parametrize("call", [c for c in ALL if c not in {"Activate", "Capabilities"}])
async def test_calls_wait_until_the_records_are_read(
    plugin: Socket, engine: FakeVolumes, call: str
) -> None:
    """A "not found" from a daemon that is still reading would make Docker forget its volumes."""
    engine.opened.clear()
    waiting = asyncio.create_task(plugin.call(call, message(call)))
    assert (await plugin.call("Capabilities")).status == 200
    assert (await plugin.call("Activate")).status == 200
    assert not waiting.done()
    engine.add("db")
    engine.asked["db"] = Options()
    engine.opened.set()
    assert (await waiting).status == 200


async def test_list_of_ten_thousand_is_whole(plugin: Socket, engine: FakeVolumes) -> None:
    """A null among the volumes would crash dockerd."""
    names = {f"volume-{number}" for number in range(10_000)}
    for name in names:
        engine.add(name)
    volumes = (await plugin.call("List")).json["Volumes"]
    assert {volume["Name"] for volume in volumes} == names
    assert all(volume["Mountpoint"] == "" for volume in volumes)


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


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/VolumeDriver.Snapshot"),
        ("POST", "/"),
        ("GET", "/VolumeDriver.List"),
        ("POST", "/VolumeDriver.Get/"),
        ("PUT", "/%0a%1b[31mx"),
    ],
)
async def test_an_unknown_endpoint_is_404_with_an_err(
    plugin: Socket, method: str, target: str
) -> None:
    """Engines to come may ask for more; they understand this answer."""
    answer = await plugin.request(target, method=method)
    assert answer is not None
    assert answer.status == 404
    assert answer.json["Err"].isprintable()
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "headers",
    ["Host: \r\n", "Host: plugin.moby.localhost\r\n", PODMAN, "Host: x\r\nContent-Type: ?\r\n"],
    ids=repr,
)
async def test_any_host_and_content_type_are_accepted(plugin: Socket, headers: str) -> None:
    """Docker up to 20.10.25 sends an empty Host; none of the engines says what it sends."""
    assert (await plugin.call("Create", message("Create"), headers=headers)).status == 200


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


async def test_a_body_that_does_not_come_is_given_up(
    plugin: Socket, engine: FakeVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that stalls in its body does not hold a connection for ever."""
    monkeypatch.setattr(requests, "READ_TIMEOUT", 0.01)
    head = f"HTTP/1.1\r\n{DOCKER}Content-Length: 10\r\n\r\n{{"
    raw = await plugin.exchange(f"POST /VolumeDriver.Remove {head}".encode())
    assert_failed(answer_in(raw), "not received")
    assert await plugin.exchange(f"POST /VolumeDriver.Get {head}".encode()) == b""


async def test_a_hundred_clients_at_once_are_all_served(
    plugin: Socket, engine: FakeVolumes
) -> None:
    """At its start an engine asks for each volume on a connection of its own."""
    names = [f"volume-{number}" for number in range(100)]
    for name in names:
        engine.add(name)
    answers = await asyncio.gather(*(plugin.call("Get", {"Name": name}) for name in names))
    assert [answer.json["Volume"]["Name"] for answer in answers] == names
