"""What engines send to the volume API, in all their forms, whole and broken."""

import asyncio
import json

import pytest

from convoy_py.api import requests
from convoy_py.models.volume import Options
from tests.fakes import FakeVolumes
from tests.unit.api.volume_api import ALL, NAMED, assert_failed, message
from tests.unit.api.wire import DOCKER, PODMAN, Socket, answer_in


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


@pytest.mark.parametrize("call", [c for c in NAMED if c != "Get"])
@pytest.mark.parametrize("name", ["", " ", "\t"], ids=repr)
async def test_no_name_is_an_error(
    plugin: Socket, engine: FakeVolumes, call: str, name: str
) -> None:
    """Also to Remove and Unmount, which take an unknown volume for one that is gone already."""
    assert_failed(await plugin.call(call, message(call, name)), "volume")


async def test_get_without_a_name_finds_nothing(plugin: Socket, engine: FakeVolumes) -> None:
    """It is an answer like that about any other name which cannot be."""
    assert_failed(await plugin.call("Get", {"Name": ""}), "no such volume")


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


async def test_a_body_that_does_not_come_is_given_up(
    plugin: Socket, engine: FakeVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that stalls in its body does not hold a connection for ever."""
    monkeypatch.setattr(requests, "READ_SECONDS", 0.01)
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
