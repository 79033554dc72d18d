"""The plugin protocol on the bare socket: what an engine never sends, or sends only in trouble."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e import host
from tests.e2e.daemon import Daemon, request
from tests.e2e.waiting import until

pytestmark = pytest.mark.root

ID = "a" * 64
OTHER_ID = "b" * 64
# What engines let through, and ways out of a folder. Source: contract, section 5.
BAD_NAMES = (
    "",
    ".",
    "..",
    "../../etc",
    "a/b",
    "a/../b",
    "/abs",
    "with space",
    "Ünïcode",
    "line\nbreak",
    "end\n",
    "nul\0",
    "-dash",
    "--help",
    "_under",
    ".hidden",
    "a:b",
    "a@b@c",
    "a\\b",
    "%2e%2e",
    "\u202egnp",
    "x" * 129,
    "x" * 300,
)


def test_activate(daemon: Daemon) -> None:
    """11.1: Activate with an empty body and an empty Host says VolumeDriver, however often."""
    for _ in range(3):
        found = daemon.call("/Plugin.Activate")
        assert found.status == 200
        assert found.body == {"Implements": ["VolumeDriver"]}


@pytest.mark.parametrize("opts", [{"Opts": None}, {"Opts": {}}, {}], ids=["null", "empty", "none"])
def test_options_are_optional(daemon: Daemon, name: str, opts: dict[str, None]) -> None:
    """11.4: Create takes null, empty and absent options, for clients send all three."""
    assert daemon.call("/VolumeDriver.Create", {"Name": name, **opts}).body == {"Err": ""}
    assert name in daemon.names()


def test_create_twice(daemon: Daemon, name: str, options: dict[str, str]) -> None:
    """11.5: a second Create with the same options succeeds and leaves the data alone."""
    daemon.create(name, options)
    (daemon.mount(name, ID) / "file").write_text("precious")
    daemon.create(name, options)
    daemon.create(name)
    assert (daemon.mount(name, ID) / "file").read_text() == "precious"


def test_create_with_other_options(daemon: Daemon, name: str, options: dict[str, str]) -> None:
    """11.6: a second Create with other options is refused, says which differ, changes nothing."""
    daemon.create(name, options)
    record = (daemon.data(name).parent / "volume.json").read_bytes()
    found = daemon.call("/VolumeDriver.Create", {"Name": name, "Opts": {**options, "uid": "7"}})
    assert found.status == 500
    assert found.error == (f"volume {name} already exists with other options: uid is 0, asked 7")
    assert (daemon.data(name).parent / "volume.json").read_bytes() == record


def test_remove_unknown(daemon: Daemon, name: str) -> None:
    """11.41: removing what is not there succeeds."""
    assert daemon.call("/VolumeDriver.Remove", {"Name": name}).body == {"Err": ""}


def test_unmount_unknown(daemon: Daemon, name: str, options: dict[str, str]) -> None:
    """11.42, B19: an Unmount of an unknown volume, of an unknown ID, or once too often is fine."""
    daemon.unmount(name, ID)
    daemon.create(name, options)
    daemon.unmount(name, ID)
    daemon.mount(name, ID)
    daemon.unmount(name, OTHER_ID)
    assert daemon.is_mounted(name)
    daemon.unmount(name, ID)
    daemon.unmount(name, ID)
    assert daemon.is_released(name)


@pytest.mark.parametrize("call", ["Create", "Mount", "Unmount", "Remove", "Path"])
def test_lost_body(daemon: Daemon, call: str) -> None:
    """11.49, B15: a retry whose body was lost is told to the user, and names no volume."""
    before = daemon.names()
    found = daemon.call(f"/VolumeDriver.{call}")
    assert found.status == 500
    assert "run the command again" in found.error
    assert daemon.names() == before


@pytest.mark.parametrize("body", [b"", b"{", b'{"Name": 5}', b'{"Name": "x"'])
def test_get_without_a_body(daemon: Daemon, body: bytes) -> None:
    """11.50: Get that cannot be understood ends without an answer, which no engine takes for no."""
    with pytest.raises(ConnectionError):
        daemon.call("/VolumeDriver.Get", body)


def test_every_answer_ends_its_connection(daemon: Daemon, name: str) -> None:
    """11.51: no connection is ever kept, so none can be closed under an engine's next request."""
    daemon.create(name)
    bodies = {"Name": name, "ID": ID}
    for call in ("Capabilities", "Create", "Get", "List", "Path", "Mount", "Unmount", "Remove"):
        # `call` reads to the end of the connection, so this ends only if the daemon closes it.
        found = daemon.call(f"/VolumeDriver.{call}", bodies)
        assert (found.status, found.headers["connection"]) == (200, "close")
    for path in ("/VolumeDriver.Get", "/VolumeDriver.Mount", "/VolumeDriver.New", "/"):
        assert daemon.call(path, bodies).headers["connection"] == "close"


def test_client_that_leaves(daemon: Daemon, name: str, options: dict[str, str]) -> None:
    """11.57, B23: a Mount whose client has gone before the answer leaves no reference."""
    daemon.create(name, options)
    body = json.dumps({"Name": name, "ID": ID}).encode()
    with daemon.suspended():
        connection = daemon.connect()
        connection.sendall(request("/VolumeDriver.Mount", body))
        connection.close()
    until(lambda: "mount" in daemon.calls(name), "the end of the call")
    until(lambda: daemon.is_released(name), "the reference taken back")
    (error,) = (line["error"] for line in daemon.lines_of(name) if line["message"] == "mount")
    assert "client has gone" in error


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_bad_names(daemon: Daemon, bad: str) -> None:
    """11.60: a name that could lead elsewhere is refused by Create, unknown to all other calls.

    Where there is none at all, nothing is gone either.
    """
    before = _tree(daemon.home)
    found = daemon.call("/VolumeDriver.Create", {"Name": bad, "Opts": {}})
    assert found.status == 500
    assert "invalid volume name" in found.error
    for call in ("Get", "Mount", "Path"):
        found = daemon.call(f"/VolumeDriver.{call}", {"Name": bad, "ID": ID})
        assert found.status == 500
        assert "no such volume" in found.error
    for call in ("Unmount", "Remove"):
        found = daemon.call(f"/VolumeDriver.{call}", {"Name": bad, "ID": ID})
        assert found.status == (200 if bad else 500)
    assert _tree(daemon.home) == before


def test_errors_are_one_line(daemon: Daemon) -> None:
    """11.61: nothing of what a client sent reaches a terminal raw."""
    hostile = "x\n\x1b[31mred\x1b[0m\x07\u202eÜ"
    for message in ({"Name": hostile}, {"Name": "n", "Opts": {hostile: "1"}}):
        found = daemon.call("/VolumeDriver.Create", {"Opts": {}, **message})
        assert found.status == 500
        assert found.error.isprintable()
        assert len(found.error) > 10


FAILING: dict[str, tuple[str, dict[str, object]]] = {
    "Create with a bad option": ("Create", {"Opts": {"size": "tiny"}}),
    "Create with an unknown option": ("Create", {"Opts": {"colour": "red"}}),
    "Create with a bad type": ("Create", {"Opts": 5}),
    "Create too small": ("Create", {"Opts": {"backend": "loopback", "size": "1"}}),
    "Create too large": ("Create", {"Opts": {"backend": "loopback", "size": "1000P"}}),
    "Create on a forbidden path": ("Create", {"Opts": {"path": "/etc"}}),
    "Get unknown": ("Get", {}),
    "Mount unknown": ("Mount", {"ID": ID}),
    "Remove without a name": ("Remove", {"Name": ""}),
    "Unmount without a name": ("Unmount", {"Name": "", "ID": ID}),
    "Path unknown": ("Path", {}),
}


@pytest.mark.parametrize("no_id", [{}, {"ID": ""}], ids=["absent", "empty"])
def test_calls_without_an_id(daemon: Daemon, name: str, no_id: dict[str, object]) -> None:
    """11.23: What a person or a script sends by hand holds by one reference, and ends it."""
    daemon.create(name)
    for _ in range(2):
        found = daemon.call("/VolumeDriver.Mount", {"Name": name, **no_id})
        assert found.status == 200
    assert daemon.holds(name) == {"no ID": 1}
    assert daemon.call("/VolumeDriver.Unmount", {"Name": name, **no_id}).status == 200
    assert daemon.is_released(name)


@pytest.mark.parametrize("case", FAILING)
def test_failures_are_500(daemon: Daemon, name: str, case: str) -> None:
    """11.62: every failure is status 500 and JSON with an Err that is one line."""
    call, message = FAILING[case]
    found = daemon.call(f"/VolumeDriver.{call}", {"Name": name, **message})
    assert found.status == 500
    assert set(found.body) == {"Err"}
    assert found.error.isprintable()
    assert found.error
    assert name not in daemon.names()


def test_unknown_endpoint(daemon: Daemon) -> None:
    """11.62: an endpoint of the future is answered 404, in JSON."""
    found = daemon.call("/VolumeDriver.Freeze", {"Name": "x"})
    assert found.status == 404
    assert "no such endpoint" in found.error


def test_mountpoint_is_the_volume(daemon: Daemon, name: str, options: dict[str, str]) -> None:
    """11.64: Mount answers an absolute path that exists and lies on the volume's own mount."""
    daemon.create(name, options)
    path = daemon.mount(name, ID)
    assert path.is_absolute()
    assert path.is_dir()
    (fields,) = host.mounts_at(daemon.mountpoint(name))
    assert {"nosuid", "nodev"} <= set(fields[5].split(","))
    major_minor = fields[2]
    device = path.stat().st_dev
    assert major_minor == f"{os.major(device)}:{os.minor(device)}"
    if options["backend"] == "loopback":
        (loop,) = host.loop_devices(daemon.data(name))
        assert f"/dev/{loop}" in fields
    else:
        assert path.stat().st_ino == daemon.data(name).stat().st_ino


def test_probe(daemon: Daemon) -> None:
    """11.90: connections that end without a byte, or in the middle, are no errors."""
    for sent in (b"", b"POST /Vol", request("/VolumeDriver.Get", b'{"Name":"x"}')[:-3]):
        connection = daemon.connect()
        connection.sendall(sent)
        connection.close()
    assert daemon.call("/Plugin.Activate").status == 200
    assert daemon.failures() == []


def test_storm_on_one_volume(daemon: Daemon, name: str, options: dict[str, str]) -> None:
    """B21: 32 clients that mount, unmount, look at and remove one volume meet no inconsistency."""
    daemon.create(name, options)

    def client(number: int) -> None:
        mount_id = f"{number:064x}"
        for _ in range(5):
            path = daemon.mount(name, mount_id)
            (path / str(number)).write_text("mine")
            refused = daemon.call("/VolumeDriver.Remove", {"Name": name})
            assert refused.status == 500
            assert name in refused.error
            assert (path / str(number)).read_text() == "mine"
            assert daemon.call("/VolumeDriver.Get", {"Name": name}).status == 200
            daemon.unmount(name, mount_id)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(client, range(32)))
    until(lambda: daemon.is_released(name), "no reference any more")
    assert len(os.listdir(daemon.mount(name, ID))) == 32
    daemon.unmount(name, ID)


def _tree(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}
