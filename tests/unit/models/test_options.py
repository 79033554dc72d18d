"""Volume options are read by one table; what is not in it is refused."""

import pytest

from convoy_py.errors import HelpAsked, Invalid, InvalidOption
from convoy_py.linux import filesystems
from convoy_py.models.filesystem import IMAGE_SIZES, Filesystem
from convoy_py.models.mount_options import MOUNT_OPTIONS, effective
from convoy_py.models.options import OPTIONS, help_line, parse_options
from convoy_py.models.sizes import parse_size
from convoy_py.models.volume import Options, Spec, show


def test_nothing_given_asks_for_nothing() -> None:
    """No options are all None, which is not the same as defaults."""
    assert parse_options({}) == Options()


def test_every_option_is_read() -> None:
    """Each key of the table arrives in its field."""
    options = parse_options(
        {
            "backend": "loop",
            "size": "1G",
            "fs": "XFS",
            "sparse": "false",
            "uid": "999",
            "gid": "998",
            "mode": "2770",
            "mount_options": "noatime,noexec",
            "from": "db@nightly",
            "per_mount": "true",
            "autogrow": "8G",
        }
    )
    assert options == Options(
        backend="loopback",
        size=2**30,
        fs=Filesystem.XFS,
        sparse=False,
        uid=999,
        gid=998,
        mode=0o2770,
        mount_options=("noatime", "noexec"),
        source="db@nightly",
        per_mount=True,
        autogrow=2**33,
    )
    read = {option.field for option in OPTIONS}
    assert read == set(Options.model_fields)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"driver": "vfs"}, Options(backend="directory")),
        ({"backend": "dir"}, Options(backend="directory")),
        ({"fstype": "ext4"}, Options(fs=Filesystem.EXT4)),
        ({"mountpoint": "/srv/x"}, Options(path="/srv/x")),
        (
            {"type": "none", "o": "bind", "device": "/srv/x"},
            Options(path="/srv/x"),
        ),
        (
            {"o": "uid=1,size=5M,mode=0700,noatime"},
            Options(uid=1, size=5 * 2**20, mode=0o700, mount_options=("noatime",)),
        ),
        ({"inodes": "1000"}, Options(inodes=1000)),
        ({"inodes": "0" * 20 + "1000", "uid": "00"}, Options(inodes=1000, uid=0)),
        ({"o": "inodes=1000,noatime"}, Options(inodes=1000, mount_options=("noatime",))),
        ({"o": "nr_inodes=5", "INODES": "5"}, Options(inodes=5)),
        ({"SIZE": "5M", "UID": "1", "o": "uid=1,size=5M"}, Options(uid=1, size=5 * 2**20)),
    ],
)
def test_other_plugins_names_for_the_same_are_understood(
    raw: dict[str, str], expected: Options
) -> None:
    """Users of Convoy, the local driver, local-persist and Podman change only the driver."""
    assert parse_options(raw) == expected


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"sze": "10G"}, "unknown option 'sze': use backend"),
        ({"size": "10X"}, "10GB"),
        ({"fs": "zfs"}, "ext4, xfs, btrfs"),
        ({"sparse": "maybe"}, "true or false"),
        ({"uid": "-1"}, "numeric id"),
        ({"uid": "4294967295"}, "numeric id"),
        ({"uid": "root"}, "numeric id"),
        ({"uid": "000000000000" + "9" * 11}, "is not a numeric id from 0 to 4294967294"),
        ({"gid": "9" * 5000}, "is not a numeric id from 0 to 4294967294"),
        ({"mode": "888"}, "octal"),
        ({"mode": "10000"}, "octal"),
        ({"path": "relative"}, "absolute"),
        ({"path": "/srv/../etc"}, "absolute"),
        ({"backend": "devicemapper"}, "directory"),
        ({"driver": "DeviceMapper"}, "loopback gives volumes of a fixed size"),
        ({"mount_options": "exec"}, "'exec' is not one of ro, noexec"),
        ({"mount_options": "loop=/dev/sda"}, "'loop' is not one of ro, noexec"),
        ({"o": "async"}, "or, where allowed, suid, dev"),
        ({"size": "1G", "o": "size=2G"}, "twice"),
        ({"inodes": "0"}, "'0' is not a number from 1 to 4294967295"),
        ({"inodes": "4294967296"}, "from 1 to 4294967295"),
        ({"inodes": "1k"}, "'1k' is not a number"),
        ({"inodes": "000000000001" + "9" * 12}, "is not a number from 1 to 4294967295"),
        ({"o": "inodes=-1"}, "'-1' is not a number"),
        ({"o": "noquota"}, "'noquota' is not one of"),
        ({"from": "../db"}, "'../db' is not a volume such as db, or a snapshot such as db@nightly"),
        ({"from": "db@"}, "option from: 'db@' is not"),
        ({"per_mount": "each"}, "option per_mount: 'each' is not true or false"),
        ({"autogrow": "max"}, "option autogrow"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(raw: dict[str, str], said: str) -> None:
    """The line says what was wrong and what is allowed."""
    with pytest.raises(InvalidOption) as caught:
        parse_options(raw)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("chosen", "allowed", "mounted"),
    [
        ((), (), ["nosuid", "nodev"]),
        (("ro",), ("suid", "dev"), ["nosuid", "nodev", "ro"]),
        (("noatime", "suid"), ("suid",), ["nodev", "noatime"]),
        (("dev", "suid"), ("suid", "dev"), []),
        (("dev", "suid"), ("dev",), ["nosuid"]),
        (("suid",), (), ["nosuid", "nodev"]),
    ],
)
def test_suid_and_dev_hold_only_where_they_are_allowed(
    chosen: tuple[str, ...], allowed: tuple[str, ...], mounted: list[str]
) -> None:
    """And chosen; what a record of before says is not enough."""
    assert effective(chosen, allowed) == mounted


@pytest.mark.parametrize("raw", [{"help": ""}, {"help": "x"}, {"o": "help"}])
def test_help_answers_with_the_whole_table(raw: dict[str, str]) -> None:
    """`-o help` names every key and every mount option."""
    with pytest.raises(HelpAsked) as caught:
        parse_options(raw)
    assert str(caught.value) == help_line()
    assert "\n" not in help_line()
    for word in (*(o.key for o in OPTIONS), *MOUNT_OPTIONS):
        assert word in str(caught.value)


def test_only_what_was_asked_is_compared() -> None:
    """A second Create without options matches, and one with another size says which."""
    spec = Spec(backend="loopback", size=2**30, fs=Filesystem.EXT4, sparse=True, uid=0)
    assert spec.differences(Options()) == {}
    assert spec.differences(Options(size=2**30, uid=0)) == {}
    assert spec.differences(Options(size=2**31, fs=Filesystem.EXT4)) == {"size": ("1GiB", "2GiB")}


def test_mount_options_that_add_nothing_are_no_difference() -> None:
    """`-o o=rw` asks for what every volume has, however an older record says so."""
    spec = Spec(backend="directory")
    assert spec.differences(parse_options({"o": "rw"})) == {}
    assert spec.differences(Options(mount_options=())) == {}
    recorded = spec.model_copy(update={"mount_options": ()})
    assert "mount_options" not in recorded.shown()
    asked = recorded.differences(Options(mount_options=("ro",)))
    assert asked == {"mount_options": ("unset", "ro")}


def test_image_sizes_are_what_the_tools_take() -> None:
    """A size that is accepted up front does not fail in mkfs, and is told in a unit."""
    assert set(IMAGE_SIZES) == set(Filesystem)
    for fs, (smallest, largest) in IMAGE_SIZES.items():
        assert filesystems.MINIMUM[fs] <= smallest < largest <= filesystems.MAXIMUM[fs]
        for size in (smallest, largest):
            assert show("size", size).endswith("iB")
            assert parse_size(show("size", size)) == size


def test_a_clones_origin_is_told_as_it_was_asked() -> None:
    """By the option's name, not by the field's; a size that it may reach in a unit."""
    spec = Spec(backend="loopback", source="db@a", per_mount=True, autogrow=2**33)
    assert spec.shown() == {
        "backend": "loopback",
        "from": "db@a",
        "per_mount": "true",
        "autogrow": "8GiB",
    }
    asked = parse_options({"from": "db", "per_mount": "false", "autogrow": "1G"})
    assert spec.differences(asked) == {
        "from": ("db@a", "db"),
        "per_mount": ("true", "false"),
        "autogrow": ("8GiB", "1GiB"),
    }
    assert spec.differences(Options()) == {}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"uid": "", "gid": "", "size": "1G"}, Options(size=2**30)),
        ({"o": "uid=,gid= ,mode=,size=1G"}, Options(size=2**30)),
        ({"o": ""}, Options()),
        ({"o": " , ", "type": "", "device": ""}, Options()),
        ({"UID": "   ", "uid": "5"}, Options(uid=5)),
        ({"uid": "", "o": "uid=5"}, Options(uid=5)),
        ({"": ""}, Options()),
        ({" ": "\t"}, Options()),
        *(({option.key: " "}, Options()) for option in OPTIONS),
        *(({alias: ""}, Options()) for option in OPTIONS for alias in option.aliases),
    ],
)
def test_an_empty_value_says_nothing(raw: dict[str, str], expected: Options) -> None:
    """Compose writes `uid: ${UID:-}` as an empty text: it is as if the line were not there."""
    assert parse_options(raw) == expected


@pytest.mark.parametrize("raw", [{"sze": ""}, {"": "10G"}, {" ": "x"}])
def test_an_unknown_key_is_refused_whatever_its_value(raw: dict[str, str]) -> None:
    """A mistyped key is not overlooked because its variable is empty today."""
    with pytest.raises(InvalidOption, match="unknown option"):
        parse_options(raw)


@pytest.mark.parametrize(
    "key",
    [
        "from",
        "source",
        "snapshot",
        "clone-from",
        "clone_from",
        "cloneFrom",
        "cloneOf",
        "CLONE-FROM",
    ],
)
def test_other_plugins_names_for_a_clones_origin(key: str) -> None:
    """LVM's `snapshot`, vSphere's `clone-from`, HPE's `cloneOf`."""
    assert parse_options({key: "db@a"}) == Options(source="db@a")


@pytest.mark.parametrize(
    ("raw", "instead"),
    [
        ({"type": "nfs", "device": ":/x", "o": "addr=10.0.0.1,rw,nfsvers=4"}, "path=FOLDER"),
        ({"type": "NFS4", "device": "server:/x"}, "NFS share: mount it on the host"),
        ({"device": "10.0.0.1:/x"}, "NFS share"),
        ({"type": "none", "device": ":/x"}, "NFS share"),
        ({"o": "addr=10.0.0.1,soft"}, "NFS share"),
        ({"type": "cifs", "device": "//nas/x", "o": "username=u,password=pw"}, "SMB share"),
        ({"device": "//nas/x"}, "SMB share"),
        ({"o": "username=u,password=pw"}, "SMB share"),
        ({"type": "tmpfs", "device": "tmpfs", "o": "size=100m,uid=1000"}, "--tmpfs"),
        ({"device": "tmpfs"}, "size=SIZE"),
        ({"type": "overlay", "device": "overlay", "o": "lowerdir=/a,upperdir=/b"}, "from=VOLUME"),
        ({"o": "lowerdir=/a,upperdir=/b,workdir=/c"}, "from=VOLUME"),
        ({"type": "ext4", "device": "/dev/sdb1"}, "for a device: mount it on the host"),
        ({"type": "xfs"}, "fs=xfs"),
        ({"device": "/dev/disk/by-label/data"}, "for a device: mount it on the host"),
        ({"type": "fuse.sshfs", "device": "u@h:/x"}, "no fuse.sshfs: mount it on the host"),
        ({"type": "none", "o": "bind"}, "device=FOLDER"),
        ({"type": "none", "o": "rbind,ro", "device": ""}, "path=FOLDER"),
    ],
)
def test_what_only_the_local_driver_mounts_is_told_its_way_here(
    raw: dict[str, str], instead: str
) -> None:
    """The line says what to write instead, and repeats no password."""
    with pytest.raises(InvalidOption) as caught:
        parse_options(raw)
    assert instead in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "pw" not in str(caught.value)


def test_a_password_among_mount_options_is_not_repeated() -> None:
    """An error goes to logs and terminals."""
    with pytest.raises(InvalidOption, match="'secret'") as caught:
        parse_options({"o": "secret=hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "none", "o": "bind", "device": "/srv/x"},
        {"type": "bind", "o": "rbind,rw", "device": "/srv/x"},
        {"type": "", "device": "/srv/x"},
        {"o": "bind", "path": "/srv/x"},
    ],
)
def test_a_host_folder_in_the_local_drivers_form(raw: dict[str, str]) -> None:
    """What is a bind mount there is a `path` here."""
    assert parse_options(raw) == Options(path="/srv/x")


@pytest.mark.parametrize(
    "backup",
    [
        "s3://bucket@eu-west-1/pg?backup=backup-0123456789abcdef&volume=db",
        "s3:http://e:9000/bucket/pg?backup=backup-0123456789abcdef&volume=db",
        r"s3://bucket/pg?backup=backup-0123456789abcdef\u0026volume=db",
        "s3://bucket/pg?backup=backup-0123456789abcdefu0026volume=db",
    ],
)
def test_convoys_endpoint_is_a_part_of_the_backups_url(backup: str) -> None:
    """Also where it is there already, as in the URLs that are printed here."""
    options = parse_options({"backup": backup, "endpoint": "http://e:9000"})
    assert options.backup == "s3:http://e:9000/bucket/pg?backup=backup-0123456789abcdef&volume=db"


@pytest.mark.parametrize("raw", [{}, {"backup": "offsite"}, {"backup": "vfs:///srv?backup=x"}])
def test_an_endpoint_of_nothing_is_refused(raw: dict[str, str]) -> None:
    """As in Convoy."""
    with pytest.raises(Invalid, match="ndpoint"):
        parse_options(raw | {"endpoint": "http://e:9000"})
