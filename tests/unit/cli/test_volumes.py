"""create, delete, mount, umount, list, inspect: what they ask the daemon, what they print."""

import json
import re
from typing import Any

import pytest

from convoy_py.errors import Kind
from convoy_py.models.options import OPTIONS
from convoy_py.models.options import plain as plain_key
from convoy_py.wire.volumes import Mounted, VolumeList
from tests.unit.cli.conftest import Run, Told
from tests.unit.cli.fake_daemon import FakeDaemon, Request, volume

SAMPLES = {
    "backend": "loop",
    "size": "1.5GiB",
    "fs": "xfs",
    "uid": "999",
    "gid": "998",
    "mode": "0750",
    "path": "/srv/data",
    "mount_options": "noatime,ro",
    "from": "db@nightly",
    "backup": "offsite",
    "autogrow": "20G",
    "inodes": "1000",
    "schedule.snapshot": "@hourly",
    "schedule.backup": "30 2 * * *",
    "schedule.prove": "7d",
    "schedule.to": "offsite",
    "schedule.keep": "24h,7d",
    "schedule.before": "web: sync",
    "schedule.after": "web: date",
}
SWITCHES = ("sparse", "per_mount", "schedule.pause", "schedule.stop", "schedule.raw")


def plain(name: str, **changes: Any) -> dict[str, Any]:
    return volume(name, **changes).model_dump(mode="json", by_alias=True)


def test_create_prints_the_name_alone(run: Run, daemon: FakeDaemon) -> None:
    """As in Convoy, `V=$(convoy create)` gets the name, also a made-up one."""
    daemon.answer("POST", "/v1/volumes", volume("brave-otter"), 201)
    result = run("create")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "brave-otter\n", "")
    assert daemon.requests == [
        Request("POST", "/v1/volumes", {"Name": "", "Options": {}, "Adopt": False})
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "data", "--json"),
        ("create", "--verbose", "data"),
        ("--json", "create", "data"),
        ("--verbose", "create", "data"),
    ],
)
def test_create_shows_the_volume_when_asked_for_json(
    run: Run, daemon: FakeDaemon, arguments: tuple[str, ...]
) -> None:
    """Either flag, before or after the command, shows the volume in the keys of the wire."""
    daemon.answer("POST", "/v1/volumes", volume("data"), 201)
    result = run(*arguments)
    assert json.loads(result.stdout) == plain("data")


@pytest.mark.parametrize(
    "option", [o for o in OPTIONS if o.key not in SWITCHES], ids=lambda option: option.key
)
def test_every_volume_option_is_a_flag(run: Run, daemon: FakeDaemon, option: Any) -> None:
    """The flag is the option's key with dashes, and its text reaches the daemon as it is."""
    daemon.answer("POST", "/v1/volumes", volume("data"), 201)
    flag = "--" + re.sub(r"[_.]", "-", option.key)
    result = run("create", "data", flag, SAMPLES[option.key])
    assert result.exit_code == 0
    (given,) = daemon.requests[0].body["Options"].items()
    assert (plain_key(given[0]), given[1]) == (plain_key(option.key), SAMPLES[option.key])


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("--sparse",), {"sparse": "true"}),
        (("--no-sparse",), {"sparse": "false"}),
        (("--per-mount",), {"per_mount": "true"}),
        (("--no-per-mount",), {"per_mount": "false"}),
        (("--schedule-pause",), {"schedule_pause": "true"}),
        (("--no-schedule-stop",), {"schedule_stop": "false"}),
        (("--driver", "vfs"), {"backend": "vfs"}),
        (("-o", "fstype=xfs", "--opt", "o=size=1G,uid=5"), {"fstype": "xfs", "o": "size=1G,uid=5"}),
        (("--size", "1G", "-o", "size=1G"), {"size": "1G"}),
        (("-o", "path="), {"path": ""}),
        (("--uid", "", "-o", "uid=5"), {"uid": "5"}),
        (("--uid", "5", "-o", "uid= "), {"uid": "5"}),
    ],
)
def test_options_in_other_spellings(
    run: Run, daemon: FakeDaemon, arguments: tuple[str, ...], options: dict[str, str]
) -> None:
    """Convoy's --driver, Docker's -o and the pair --sparse/--no-sparse reach the daemon."""
    daemon.answer("POST", "/v1/volumes", volume("data"), 201)
    assert run("create", "data", *arguments).exit_code == 0
    assert daemon.requests[0].body["Options"] == options


@pytest.mark.parametrize(
    "arguments",
    [("-o", "help"), ("data", "-o", "help"), ("data", "-o", "o=help"), ("--fs", "help")],
)
def test_help_on_options_is_a_table(
    run: Run, daemon: FakeDaemon, arguments: tuple[str, ...]
) -> None:
    """A success on stdout, a line for each option, and nothing is made."""
    result = run("create", *arguments)
    assert (result.exit_code, result.stderr, daemon.requests) == (0, "", [])
    _, *lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [option.key for option in OPTIONS]
    for option, line in zip(OPTIONS, lines, strict=True):
        for part in (*option.aliases, option.values, option.meaning):
            assert part in line


def test_help_on_options_as_json(run: Run) -> None:
    """The rows of the REST API's table."""
    rows = json.loads(run("--json", "create", "-o", "help").stdout)
    assert [row["Key"] for row in rows] == [option.key for option in OPTIONS]


def test_create_can_adopt(run: Run, daemon: FakeDaemon) -> None:
    """--adopt asks the daemon to take over what lies there."""
    daemon.answer("POST", "/v1/volumes", volume("data"), 201)
    assert run("create", "--adopt", "data").exit_code == 0
    assert daemon.requests[0].body == {"Name": "data", "Options": {}, "Adopt": True}


@pytest.mark.parametrize(
    "arguments",
    [("--size", "1G", "-o", "size=2G"), ("-o", "fs=xfs", "-o", "fs=ext4"), ("--no-such",)],
)
def test_contradictions_and_unknown_flags_are_usage_errors(
    run: Run, daemon: FakeDaemon, told: Told, arguments: tuple[str, ...]
) -> None:
    """Nothing given is dropped silently, and the daemon is not asked."""
    result = run("create", "data", *arguments)
    assert result.exit_code == 2
    assert "see `convoy create --help`" in told(result)
    assert daemon.requests == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "ä", "-x", "a" * 129, "x\n"])
@pytest.mark.parametrize("command", ["create", "inspect", "mount", "umount"])
def test_a_bad_name_is_refused_before_any_request(
    run: Run, daemon: FakeDaemon, told: Told, command: str, name: str
) -> None:
    """A name such as `..` would be another path of the API; an empty one is a script's mistake."""
    result = run(command, "--", name)
    assert result.exit_code == 2
    assert repr(name) in told(result)
    assert daemon.requests == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "x", "--id", "vol-1"),
        ("create", "x", "--type", "gp2"),
        ("create", "x", "--iops", "100"),
        ("create", "x", "--vm"),
        ("mount", "x", "--mountpoint", "/mnt"),
    ],
)
def test_flags_of_convoy_without_a_meaning_here_are_refused(
    run: Run, daemon: FakeDaemon, told: Told, arguments: tuple[str, ...]
) -> None:
    """A script written for Convoy is told which flag to drop, and what to do instead."""
    result = run(*arguments)
    assert result.exit_code == 6
    assert f"{arguments[2]} is an option of the original Convoy only: " in told(result)
    assert daemon.requests == []


def test_delete_tries_every_name_and_exits_with_the_first_failure(
    run: Run, daemon: FakeDaemon
) -> None:
    """The deleted names are on stdout, one line per failure on stderr; a repeat counts once."""
    daemon.answer("DELETE", "/v1/volumes/a", status=204)
    daemon.fail("DELETE", "/v1/volumes/b", "volume b is in use by container 1", Kind.IN_USE, 409)
    daemon.fail("DELETE", "/v1/volumes/c", "no such volume: c", Kind.NOT_FOUND, 404)
    daemon.answer("DELETE", "/v1/volumes/d", status=204)
    result = run("delete", "a", "b", "..", "c", "a", "d")
    assert result.exit_code == 5
    assert result.stdout == "a\nd\n"
    in_use, invalid, unknown = result.stderr.splitlines()
    assert in_use == "convoy: delete b: volume b is in use by container 1"
    assert invalid.startswith("convoy: delete ..: invalid volume name '..'")
    assert unknown == "convoy: delete c: no such volume: c"
    assert [request.target[-1] for request in daemon.requests] == ["a", "b", "c", "d"]


def test_delete_by_reference_keeps_the_data(run: Run, daemon: FakeDaemon) -> None:
    """-r is --reference, and JSON is the list of the names that are gone."""
    daemon.answer("DELETE", "/v1/volumes/a?reference=true", status=204)
    result = run("delete", "-r", "a", "b", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout) == ["a"]
    assert daemon.requests[0] == Request("DELETE", "/v1/volumes/a?reference=true", None)


def test_delete_without_a_name_is_a_usage_error(run: Run, told: Told) -> None:
    """Convoy did nothing and exited with 0."""
    result = run("delete")
    assert result.exit_code == 2
    assert "NAME" in told(result)


def test_delete_tells_once_that_no_daemon_listens(run: Run, told: Told) -> None:
    """What holds for every name is said once."""
    result = run("--socket", "/nonexistent/convoy.sock", "delete", "a", "b")
    assert result.exit_code == 8
    assert "/nonexistent/convoy.sock" in told(result)


def test_mount_prints_the_mountpoint(run: Run, daemon: FakeDaemon) -> None:
    """The hold is `convoy` unless it is named."""
    daemon.answer("POST", "/v1/volumes/a/mount", Mounted(mount_point="/run/convoy/mounts/a"))
    result = run("mount", "a")
    assert (result.exit_code, result.stdout) == (0, "/run/convoy/mounts/a\n")
    assert daemon.requests == [Request("POST", "/v1/volumes/a/mount", {"Reference": "convoy"})]


def test_mount_and_umount_show_the_volume_when_asked_for_json(run: Run, daemon: FakeDaemon) -> None:
    """The JSON of every command on one volume is the volume, as `inspect` shows it."""
    daemon.answer("POST", "/v1/volumes/a/mount", Mounted(mount_point="/m/a"))
    daemon.answer("POST", "/v1/volumes/a/umount", status=204)
    daemon.answer("GET", "/v1/volumes/a", volume("a", mount_point="/m/a"))
    shown = [json.loads(run(command, "a", "--verbose").stdout) for command in ("mount", "umount")]
    assert shown == [plain("a", mount_point="/m/a")] * 2


def test_umount_ends_the_named_hold_silently(run: Run, daemon: FakeDaemon) -> None:
    """Success has nothing to say."""
    daemon.answer("POST", "/v1/volumes/a/umount", status=204)
    result = run("umount", "--hold", "backup job", "a")
    assert (result.exit_code, result.output) == (0, "")
    assert daemon.requests == [Request("POST", "/v1/volumes/a/umount", {"Reference": "backup job"})]


@pytest.mark.parametrize("hold", ["", "x" * 257])
def test_a_hold_has_a_sensible_length(run: Run, told: Told, hold: str) -> None:
    """The limits are the wire's, told before the daemon is asked."""
    result = run("mount", "a", "--hold", hold)
    assert result.exit_code == 2
    assert "--hold" in told(result)


def test_list_in_a_pipe_is_a_map_in_the_order_of_names(run: Run, daemon: FakeDaemon) -> None:
    """Convoy's shape: name -> volume."""
    volumes = {name: volume(name) for name in ("b", "a", "c")}
    daemon.answer("GET", "/v1/volumes", VolumeList(volumes=volumes))
    result = run("list")
    shown = json.loads(result.stdout)
    assert list(shown) == ["a", "b", "c"]
    assert shown["a"] == plain("a")
    assert list(shown["a"]) == list(plain("a"))


def test_an_empty_list_is_an_empty_map(run: Run, daemon: FakeDaemon) -> None:
    """Nothing is not an error."""
    daemon.answer("GET", "/v1/volumes", VolumeList(volumes={}))
    result = run("list")
    assert (result.exit_code, result.stdout) == (0, "{}\n")


@pytest.mark.parametrize("backend", ["loopback", "loop", "LOOP"])
def test_list_can_show_one_backend(run: Run, daemon: FakeDaemon, backend: str) -> None:
    """--driver takes every name of a backend."""
    volumes = {"a": volume("a"), "b": volume("b", driver="loopback")}
    daemon.answer("GET", "/v1/volumes", VolumeList(volumes=volumes))
    assert list(json.loads(run("list", "--driver", backend).stdout)) == ["b"]


@pytest.mark.parametrize("arguments", [("--driver",), ("--driver", "--json")])
def test_list_knows_driver_as_the_switch_that_it_was(
    run: Run, daemon: FakeDaemon, arguments: tuple[str, ...]
) -> None:
    """Convoy's `list --driver`: of every volume what its driver tells."""
    volumes = {name: volume(name, driver_info={"Driver": "directory"}) for name in "ab"}
    daemon.answer("GET", "/v1/volumes", VolumeList(volumes=volumes))
    shown = json.loads(run("list", *arguments).stdout)
    assert shown == {"a": {"Driver": "directory"}, "b": {"Driver": "directory"}}


def test_list_takes_the_switch_with_a_backend(run: Run, daemon: FakeDaemon) -> None:
    """Together they are what each is alone."""
    volumes = {"a": volume("a"), "b": volume("b", driver="loopback")}
    daemon.answer("GET", "/v1/volumes", VolumeList(volumes=volumes))
    assert list(json.loads(run("list", "--backend", "loop", "--driver").stdout)) == ["b"]


def test_list_tells_what_takes_the_place_of_a_driver(run: Run, told: Told) -> None:
    """As the daemon does."""
    result = run("list", "--backend", "devicemapper")
    assert result.exit_code == 2
    assert "loopback gives volumes of a fixed size" in told(result)


def test_list_refuses_an_unknown_backend(run: Run, told: Told) -> None:
    """An empty list would say that there are no such volumes."""
    result = run("list", "--driver", "ebs")
    assert result.exit_code == 2
    assert "ebs" in told(result)


def test_inspect_is_always_indented_json(run: Run, daemon: FakeDaemon) -> None:
    """A volume's reason and paths may hold any character; the JSON is ASCII."""
    broken = volume("a", state="broken", status={"reason": "café \x1b[31m"})
    daemon.answer("GET", "/v1/volumes/a", broken)
    result = run("inspect", "a")
    assert result.stdout.startswith('{\n  "Name": "a",\n')
    assert result.stdout.isascii()
    assert json.loads(result.stdout) == broken.model_dump(mode="json", by_alias=True)


def test_rename_prints_the_new_name(run: Run, daemon: FakeDaemon) -> None:
    """JSON is the volume."""
    daemon.answer("POST", "/v1/volumes/a/rename", volume("b"))
    assert run("rename", "a", "b").stdout == "b\n"
    assert daemon.requests == [Request("POST", "/v1/volumes/a/rename", {"Name": "b"})]
    assert json.loads(run("rename", "a", "b", "--json").stdout) == plain("b")


@pytest.mark.parametrize("names", [("a", ""), ("a", "b@c"), ("..", "b"), ("a@", "b")])
def test_rename_refuses_bad_names(
    run: Run, daemon: FakeDaemon, told: Told, names: tuple[str, str]
) -> None:
    """Either one; a snapshot is not renamed."""
    result = run("rename", *names)
    assert result.exit_code == 2
    assert "invalid volume name" in told(result)
    assert daemon.requests == []


@pytest.mark.parametrize(("words", "on"), [((), True), (("--off",), False)])
def test_protect_says_nothing(
    run: Run, daemon: FakeDaemon, words: tuple[str, ...], on: bool
) -> None:
    """On, and off again; JSON is the volume."""
    daemon.answer("POST", "/v1/volumes/a/protect", volume("a"))
    result = run("protect", "a", *words)
    assert (result.exit_code, result.output) == (0, "")
    assert daemon.requests == [Request("POST", "/v1/volumes/a/protect", {"On": on})]
    assert json.loads(run("protect", "a", *words, "--json").stdout) == plain("a")


def test_a_protected_volume_is_not_deleted(run: Run, daemon: FakeDaemon) -> None:
    """The daemon's refusal is told as any other."""
    daemon.fail("DELETE", "/v1/volumes/a", "volume a is protected", Kind.CONFLICT, 409)
    result = run("delete", "a")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == "convoy: delete a: volume a is protected\n"


def test_a_snapshot_is_mounted_as_a_volume_is(run: Run, daemon: FakeDaemon) -> None:
    """And inspected, and its holds end."""
    daemon.answer("POST", "/v1/volumes/db@nightly/mount", Mounted(mount_point="/m/db@nightly"))
    daemon.answer("POST", "/v1/volumes/db@nightly/umount", status=204)
    daemon.answer("GET", "/v1/volumes/db@nightly", volume("db@nightly"))
    assert run("mount", "db@nightly").stdout == "/m/db@nightly\n"
    assert run("umount", "db@nightly").exit_code == 0
    assert json.loads(run("inspect", "db@nightly").stdout)["Name"] == "db@nightly"
