"""Settings come from flags, environment, file and defaults, in that order, and none is ignored."""

from pathlib import Path

import pytest

from convoy_py.config import load
from convoy_py.errors import InvalidSetting
from convoy_py.models.driver_options import driver_settings
from convoy_py.settings import Settings


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "convoy.toml"
    path.write_text(text)
    return path


def test_defaults_are_those_of_the_model() -> None:
    """With nothing given every value is a default and says so."""
    found = load({}, {})
    assert found.settings == Settings()
    assert set(found.sources.values()) == {"default"}


def test_a_flag_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    """Each value tells which source it came from."""
    file = _file(tmp_path, 'root = "/a"\nrun_dir = "/b"\ndefault_size = "1G"\n')
    found = load({"root": "/flag"}, {"CONVOY_RUN_DIR": "/env", "CONVOY_ROOT": "/env"}, file)
    assert (found.settings.root, found.settings.run_dir) == (Path("/flag"), Path("/env"))
    assert found.settings.default_size == 2**30
    assert found.sources["root"] == "flag"
    assert found.sources["run_dir"] == "environment"
    assert found.sources["default_size"] == f"file {file}"
    assert found.sources["log"] == "default"


@pytest.mark.parametrize(
    ("flags", "environment", "said"),
    [
        ({}, {"CONVOY_RUTE": "/x"}, "setting rute from environment: unknown; use allowed_mount"),
        ({"default_size": "10X"}, {}, "setting default_size from flag"),
        (
            {},
            {"CONVOY_LOG_LEVEL": "loud"},
            "setting log_level from environment: 'loud' is not 'debug', 'info', 'warning' or",
        ),
        (
            {},
            {"CONVOY_DRIVERS": "vfs,foo"},
            "drivers from environment: 'foo' is not a backend; use directory (vfs, dir), loopback",
        ),
        ({}, {"CONVOY_DRIVERS": ","}, "setting drivers from environment: no backend is named"),
        ({}, {"CONVOY_OVERCOMMIT": "0.5"}, "overcommit from environment: '0.5' is less than 1"),
        ({}, {"CONVOY_OVERCOMMIT": "1e9"}, "overcommit from environment: '1e9' is more than 1000"),
        ({}, {"CONVOY_OVERCOMMIT": "much"}, "overcommit from environment: 'much' is not a number"),
        ({"default_size": "1M"}, {}, "default_size from flag: 1MiB is no size for ext4: use 16MiB"),
        ({"default_size": "16T"}, {}, "default_size from flag: 16TiB is no size for ext4"),
        (
            {"default_size": "100M"},
            {"CONVOY_DEFAULT_FS": "xfs"},
            "default_size from flag: 100MiB is no size for xfs: use 300MiB to 15TiB",
        ),
        ({}, {"CONVOY_TRASH_KEEP": "1w"}, "'1w' is not a time such as 90 (seconds), 30s, 15m,"),
        ({}, {"CONVOY_TRASH_KEEP": "-1"}, "trash_keep from environment: '-1' is not a time"),
        ({}, {"CONVOY_TRASH_KEEP": "inf"}, "trash_keep from environment: 'inf' is not a time"),
        ({}, {"CONVOY_TRASH_KEEP": "9999999d"}, "is more than 3.1536e+09"),
        (
            {"allowed_mount_options": "suid,exec"},
            {},
            "allowed_mount_options from flag: 'exec' is not one of suid, dev",
        ),
        ({"freeze_limit": "0"}, {}, "freeze_limit from flag: 0.0 is not more than 0"),
        ({"freeze_limit": "1h"}, {}, "freeze_limit from flag: 3600.0 is more than 300"),
        ({}, {"CONVOY_TRIM_INTERVAL": "1s"}, "1 s is too often: use 0, or 60s and more"),
        ({}, {"CONVOY_DOCKER_HOST": "tcp://db:2375"}, "'tcp://db:2375' is not unix:///PATH"),
        ({"root": ""}, {}, "root from flag: it is empty"),
        ({}, {"CONVOY_ROOT": "d/root"}, "root from environment: 'd/root' is not an absolute path"),
        ({}, {"CONVOY_ALLOWED_PATHS": "/a,b"}, "allowed_paths from environment: 'b' is not an"),
        ({"root": "/srv/caf\udce9"}, {}, r"root from flag: '/srv/caf\xe9' is not UTF-8"),
        ({}, {"CONVOY_ALLOWED_PATHS": "/a,/\udce9"}, r"'/\xe9' is not UTF-8"),
        ({}, {"CONVOY_CONFIG": "/nonexistent.toml"}, "no such file"),
    ],
)
def test_a_wrong_setting_names_itself_and_its_source(
    flags: dict[str, str], environment: dict[str, str], said: str
) -> None:
    """Nothing that was given is ignored silently."""
    with pytest.raises(InvalidSetting) as caught:
        load(flags, environment)
    assert said in str(caught.value)


def test_a_relative_path_in_the_file_is_refused(tmp_path: Path) -> None:
    """Nobody can know from where the daemon is started."""
    with pytest.raises(
        InvalidSetting, match=r"root from file .*: 'd/root' is not an absolute path"
    ):
        load({}, {}, _file(tmp_path, 'root = "d/root"\n'))


def test_a_file_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    """A typing error in the file is found at start."""
    with pytest.raises(InvalidSetting, match="rooot"):
        load({}, {}, _file(tmp_path, 'rooot = "/x"\n'))


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    """The file's name and the place of the fault are told."""
    with pytest.raises(InvalidSetting, match=r"convoy\.toml"):
        load({}, {}, _file(tmp_path, "root = \n"))


@pytest.mark.parametrize("value", ['"ftp://canary/1"', '["https://canary/1"]', "{canary = 1}"])
def test_a_url_that_may_be_a_secret_is_not_told(tmp_path: Path, value: str) -> None:
    """A wrong one may be a right one with a slip of the pen."""
    with pytest.raises(InvalidSetting) as caught:
        load({}, {}, _file(tmp_path, f"webhook = {value}"))
    assert "webhook" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_an_empty_variable_counts_as_not_given() -> None:
    """Docker passes an unset plugin setting as an empty string."""
    assert load({}, {"CONVOY_DEFAULT_SIZE": ""}).sources["default_size"] == "default"
    assert load({}, {"CONVOY_CONFIG": ""}).settings == Settings()


@pytest.mark.parametrize(
    "line",
    [
        "root = 5",
        "socket_group = 5",
        "drivers = 5",
        "drivers = [5]",
        "default_size = 1.5",
        "default_size = [1]",
        "default_fs = 5",
        "allowed_paths = 5",
        "allowed_paths = [5]",
        "overcommit = [1]",
        "overcommit = nan",
        "trash_keep = [1]",
        "trash_keep = nan",
        "trash_keep = inf",
        "freeze_limit = nan",
        "trim_interval = inf",
        "docker_host = 5",
    ],
)
def test_a_value_of_the_wrong_kind_is_told_in_plain_words(tmp_path: Path, line: str) -> None:
    """Nobody need know what reads the settings."""
    with pytest.raises(InvalidSetting) as caught:
        load({}, {}, _file(tmp_path, line))
    assert str(caught.value).startswith(f"setting {line.partition(' ')[0]} from file ")
    for jargon in ("Input", "Value error", "valid", "tuple", "instance", "understood"):
        assert jargon not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("30s", 30), ("1.5h", 5400), ("24H", 86400), ("7 d", 604_800)],
)
def test_times_have_units(tmp_path: Path, text: str, seconds: float) -> None:
    """From every source; a bare number is seconds."""
    assert load({"trash_keep": text}, {}).settings.trash_keep == seconds
    assert load({}, {"CONVOY_TRASH_KEEP": text}).settings.trash_keep == seconds
    file = _file(tmp_path, f'trash_keep = "{text}"\nfreeze_limit = 12.5\n')
    assert load({}, {}, file).settings.trash_keep == seconds
    assert load({}, {}, file).settings.freeze_limit == 12.5


def test_the_engine_is_looked_for_beside_the_run_folder(tmp_path: Path) -> None:
    """A managed plugin sees the host's run folder elsewhere; what is set comes first."""
    flags = {"run_dir": str(tmp_path / "convoy")}
    assert load(flags, {}).settings.docker_address is None
    (tmp_path / "docker.sock").touch()
    assert load(flags, {}).settings.docker_address == f"unix://{tmp_path}/docker.sock"
    given = load(flags | {"docker_host": "unix:///x.sock"}, {})
    assert given.settings.docker_address == "unix:///x.sock"


def test_backends_are_named_in_convoys_words_too() -> None:
    """`vfs` is the directory backend; the order is kept, the first is the default."""
    assert load({"drivers": "loop,vfs"}, {}).settings.drivers == ("loopback", "directory")


def test_convoys_driver_options_become_settings() -> None:
    """Those with a meaning here are taken, others are refused with the known ones."""
    assert driver_settings(("dm.defaultvolumesize=5G", "loopback.fs=xfs")) == {
        "default_size": "5G",
        "default_fs": "xfs",
    }
    with pytest.raises(InvalidSetting, match="use --root /srv"):
        driver_settings(("vfs.path=/srv",))
    with pytest.raises(InvalidSetting, match=r"dm\.thinpool.*use loopback\.size"):
        driver_settings(("dm.thinpool=x",))


def test_an_address_that_may_be_a_secret_is_told_nowhere() -> None:
    """Neither among the settings, nor in the error that it is none."""
    given = {"webhook": "https://ntfy.sh/canary", "ping": "/etc/canary"}
    settings = load(given, {}).settings
    assert "canary" not in f"{settings!r}{settings.model_dump(mode='json')}"
    with pytest.raises(InvalidSetting, match=r"setting ping from environment: it is no http") as no:
        load({}, {"CONVOY_PING": "canary.example/ping"})
    assert "canary" not in str(no.value)


def test_a_ping_is_no_message(tmp_path: Path) -> None:
    """What ntfy takes is one: a GET would tell nobody anything."""
    assert load({"webhook": "ntfy:https://ntfy.sh/topic"}, {}).settings.webhook
    told = r"setting ping from file .*: it is no http\(s\)://…, nor the /path of a file$"
    with pytest.raises(InvalidSetting, match=told):
        load({}, {}, _file(tmp_path, 'ping = "ntfy:https://ntfy.sh/topic"'))
