"""Reads the `-o key=value` options of Create into Options; one table drives parsing and help.

The table is plain data, for the command line makes its flags of it: no model is loaded for it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from convoy_py import models
from convoy_py.errors import HelpAsked, Invalid, InvalidOption
from convoy_py.models import docker_local, mount_options
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.modes import parse_mode
from convoy_py.models.names import is_source, is_valid_name
from convoy_py.models.places import located
from convoy_py.models.sizes import parse_size

if TYPE_CHECKING:
    from convoy_py.models.volume import Options

# Each backend of the table in `backends`, with other names for it.
BACKEND_NAMES: Mapping[str, tuple[str, ...]] = {
    "directory": ("vfs", "dir"),
    "loopback": ("loop",),
}
# What Convoy had besides, and what does the same here.
_IN_PLACE = {
    "devicemapper": "loopback gives volumes of a fixed size, on any disk and without a thin pool",
    "glusterfs": "mount it on the host, and keep volumes there by directory with the option path",
    "ebs": "attach and mount the disk on the host, and have the daemon's root on it",
    "digitalocean": "attach and mount the disk on the host, and have the daemon's root on it",
}


def _filesystem(text: str) -> Filesystem:
    try:
        return Filesystem(text.lower())
    except ValueError:
        raise ValueError(f"{text!r} is not one of {', '.join(Filesystem)}") from None


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "on": True}
    known |= {"false": False, "0": False, "no": False, "off": False}
    if text.lower() not in known:
        raise ValueError(f"{text!r} is not true or false")
    return known[text.lower()]


def _owner(text: str) -> int:
    # 2**32-1 is the "leave it" of chown(2), not an id.
    return _number(text, 0, 2**32 - 2, "numeric id")


def _count(text: str) -> int:
    return _number(text, 1, 2**32 - 1, "number")


def _number(text: str, least: int, most: int, what: str) -> int:
    digits = text.lstrip("0") or "0"
    # So short that it can be read: whoever sends thousands of digits is told this, too.
    known = text.isascii() and text.isdigit() and len(digits) <= len(str(most))
    if not known or not least <= int(digits) <= most:
        raise ValueError(f"{text!r} is not a {what} from {least} to {most}")
    return int(digits)


def _path(text: str) -> str:
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or "\0" in text or "\n" in text:
        raise ValueError(f"{text!r} is not an absolute path without '..'")
    return str(path)


def _source(text: str) -> str:
    if not is_source(text):
        raise ValueError(f"{text!r} is not a volume such as db, or a snapshot such as db@nightly")
    return text


def _expression(text: str) -> str:
    return models.cron.expression(text)


def _policy(text: str) -> str:
    return text.replace(" ", "")  # what it says is restic's affair, and is read where it is used


def _commands(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        try:
            models.hooks.Command.parsed(line)
        except Invalid as error:
            raise ValueError(str(error)) from None
    return "\n".join(lines)


def _backup(text: str) -> str:
    if not is_valid_name(text) and "?backup=backup-" not in text:
        raise ValueError(f"{text!r} is neither a repository's name nor the URL of a backup")
    # In one spelling: the same again, in the other, is the same volume.
    return re.sub(r"\\?u0026volume=", "&volume=", text)


def backends_known() -> str:
    """The backends with their other names, in one line."""
    return ", ".join(f"{name} ({', '.join(aliases)})" for name, aliases in BACKEND_NAMES.items())


def backend_named(text: str) -> str:
    """The backend that goes by this name; raises ValueError with those there are."""
    name = text.strip().lower()
    for backend, aliases in BACKEND_NAMES.items():
        if name == backend or name in aliases:
            return backend
    hint = f" ({_IN_PLACE[name]})" if name in _IN_PLACE else ""
    raise ValueError(f"{text!r} is not a backend; use {backends_known()}{hint}")


BOOLEANS = ("true", "false")
HOOK = "CONTAINER: COMMAND"
CRON = "@hourly|@daily|@weekly|@monthly|@yearly|7d|30 2 * * *"


@dataclass(frozen=True)
class Option:
    """One row of the table: a key, other plugins' names for the same, its reader, its help."""

    key: str
    aliases: tuple[str, ...]
    read: Callable[[str], object]
    values: str
    meaning: str
    choices: tuple[str, ...] = ()  # all values there are, where they are few

    @property
    def field(self) -> str:
        """The field of Options that holds it: `from` cannot be a name in Python."""
        return "source" if self.key == "from" else self.key.replace(".", "_")


OPTIONS = (
    Option(
        "backend",
        ("driver",),
        backend_named,
        "|".join(BACKEND_NAMES),
        "where the data lives; default: the daemon's first, or the first that can do the rest",
        tuple(BACKEND_NAMES),
    ),
    Option("size", (), parse_size, "10G|1.5GiB|10GB|BYTES", "hard limit; 10GB is 1000-based"),
    Option(
        "fs",
        ("fstype", "filesystem", "fs_type"),
        _filesystem,
        "|".join(Filesystem),
        "filesystem of a loopback image; default: the daemon's, ext4",
        tuple(Filesystem),
    ),
    Option(
        "sparse",
        (),
        _boolean,
        "|".join(BOOLEANS),
        "allocate a loopback image on demand, or reserve every block now; default: true",
        BOOLEANS,
    ),
    Option("uid", (), _owner, "NUMBER", "owner of the volume's root; default: 0"),
    Option("gid", (), _owner, "NUMBER", "group of the volume's root; default: 0"),
    Option(
        "mode",
        (),
        parse_mode,
        "OCTAL",
        "mode of the volume's root, with its leading zero; default: 0755",
    ),
    Option(
        "path",
        ("mountpoint", "device"),
        _path,
        "FOLDER",
        "a host folder below one that the administrator allowed; its data is never deleted",
    ),
    Option(
        "mount_options",
        ("mountopts", "mount_opts"),
        mount_options.parsed,
        ",".join(mount_options.MOUNT_OPTIONS),
        "any of these, added to nosuid,nodev; suid and dev where the administrator allows them",
    ),
    Option(
        "from",
        ("source", "snapshot", "clone-from", "cloneof"),
        _source,
        "VOLUME|VOLUME@SNAPSHOT",
        "begin as a clone of this; what else is not given is as there",
    ),
    Option(
        "backup",
        (),
        _backup,
        "REPOSITORY|URL",
        "begin as the newest backup of this name there, or as the one of a URL; what else is not "
        "given is as it was",
    ),
    Option(
        "per_mount",
        (),
        _boolean,
        "|".join(BOOLEANS),
        "with `from`: every mount gets a private clone, dropped at its unmount",
        BOOLEANS,
    ),
    Option(
        "autogrow",
        (),
        parse_size,
        "10G|1.5GiB|10GB|BYTES",
        "grow a loopback volume before it is full, up to this size",
    ),
    Option("inodes", ("nr_inodes",), _count, "NUMBER", "how many files there may be at most"),
    Option("schedule.snapshot", (), _expression, CRON, "when snapshots are taken by themselves"),
    Option("schedule.backup", (), _expression, CRON, "when backups are made by themselves"),
    Option("schedule.prove", (), _expression, CRON, "when the newest of these backups is proven"),
    Option(
        "schedule.raw",
        (),
        _boolean,
        "|".join(BOOLEANS),
        "these backups are of the whole image, as one file",
        BOOLEANS,
    ),
    Option(
        "schedule.to",
        (),
        str.strip,
        "REPOSITORY",
        "where these backups go; else the default repository, or the only one",
    ),
    Option(
        "schedule.keep",
        (),
        _policy,
        "24h,7d,4w,12m,3y",
        "which of both stay, by restic's rules; default: all",
    ),
    Option(
        "schedule.before",
        (),
        _commands,
        HOOK,
        "run in a container before either; several by lines; not for Docker",
    ),
    Option(
        "schedule.after",
        (),
        _commands,
        HOOK,
        "run in a container afterwards, in any case; not for Docker",
    ),
    Option(
        "schedule.pause",
        (),
        _boolean,
        "|".join(BOOLEANS),
        "pause the containers that use it meanwhile",
        BOOLEANS,
    ),
    Option(
        "schedule.stop",
        (),
        _boolean,
        "|".join(BOOLEANS),
        "stop them meanwhile, and start them again",
        BOOLEANS,
    ),
)
# Convoy's, beside the URL of a backup that has no server in it.
_ENDPOINT = "endpoint"
# The `o` of Docker's local driver and of Podman packs several options into one value.
_PACKED = "o"
_UNPACKED = ("size", "uid", "gid", "mode", "inodes", "nr_inodes")
_LOCAL = ("type", _PACKED, "device")


_DROPPED = str.maketrans("", "", "-_.")


def plain(key: str) -> str:
    """A key as it is compared: `clone-from`, `clone_from` and `cloneFrom` are the same."""
    return key.lower().translate(_DROPPED)


_BY_NAME = {plain(name): option for option in OPTIONS for name in (option.key, *option.aliases)}


def is_known(key: str) -> bool:
    return plain(key) in _BY_NAME


def known_options() -> str:
    """The keys with their aliases, in one line."""
    return ", ".join(o.key + (f" ({', '.join(o.aliases)})" if o.aliases else "") for o in OPTIONS)


def help_line() -> str:
    """The whole table in one line: an Err of Docker's cannot have two."""
    return "options: " + ", ".join(f"-o {o.key}={o.values} ({o.meaning})" for o in OPTIONS)


def asks_help(raw: Mapping[str, str]) -> bool:
    """Whether raw options ask for the table: `help` in any place."""
    return "help" in raw or "help" in raw.values()


def parse_options(raw: Mapping[str, str]) -> "Options":
    """Read raw options; keys in any case (Podman sends SIZE beside o=size=…).

    An empty value is one that a template had no value for: nothing was said. Raises InvalidOption,
    in one line that lists what is allowed, for an unknown key, a bad value, or two names of one
    option with different values; HelpAsked with the table for `-o help`.
    """
    if asks_help(raw):
        raise HelpAsked(help_line())
    given: dict[str, object] = {}
    for key, text in _flatten(_at_endpoint(raw)):
        option = _BY_NAME.get(plain(key))
        if option is None:
            raise InvalidOption(f"unknown option {key!r}: use {known_options()}")
        if is_blank(text):
            continue
        try:
            value = option.read(text)
        except ValueError as error:
            raise InvalidOption(f"option {key}: {error}") from None
        if given.setdefault(option.field, value) != value:
            raise InvalidOption(f"option {option.key} is given twice with different values")
    if "path" not in given and docker_local.binds(_of_local(raw)):
        raise InvalidOption("o=bind without a folder: add device=FOLDER, or path=FOLDER alone")
    return models.volume.Options.model_validate(given)


def _at_endpoint(raw: Mapping[str, str]) -> Mapping[str, str]:
    """The same with Convoy's `endpoint` as a part of the URL that it belongs to."""
    endpoints = [key for key in raw if plain(key) == _ENDPOINT]
    if not endpoints:
        return raw
    found = {key: text for key, text in raw.items() if key not in endpoints}
    backup = next((key for key in found if plain(key) == "backup"), None)
    if backup is None:
        raise InvalidOption("Endpoint option can only be used when creating a volume from a backup")
    return found | {backup: located(found[backup], raw[endpoints[0]])}


def is_blank(text: str) -> bool:
    """Whether nothing is said: an empty value, or white space."""
    return not text.strip()


def _of_local(raw: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): text for key, text in raw.items() if key.lower() in _LOCAL}


def _flatten(raw: Mapping[str, str]) -> list[tuple[str, str]]:
    """The pairs with `o` unpacked; raises InvalidOption for what only the local driver mounts."""
    if instead := docker_local.advice(_of_local(raw)):
        raise InvalidOption(f"type, o, device are of Docker's driver `local`: {instead}")
    pairs: list[tuple[str, str]] = []
    rest: list[str] = []
    for key, text in raw.items():
        if key.lower() == "type" or (is_blank(key) and is_blank(text)):
            continue  # the type of a folder says nothing
        if key.lower() != _PACKED:
            pairs.append((key, text))
            continue
        for part in filter(None, map(str.strip, text.split(","))):
            name, separator, value = part.partition("=")
            if separator and name.lower() in _UNPACKED:
                pairs.append((name, value))
            else:
                rest.append(part)
    if rest:
        pairs.append(("mount_options", ",".join(rest)))
    return pairs
