"""The driver options of Convoy's daemon, and the settings that mean the same."""

from convoy_py.errors import InvalidSetting

# Convoy's driver options, by the setting that means the same; see docs/cli.md.
DRIVER_OPTIONS = {
    "loopback.size": "default_size",
    "loopback.fs": "default_fs",
    "loopback.overcommit": "overcommit",
    "loopback.reserve": "reserve",
    "directory.paths": "allowed_paths",
    "vfs.paths": "allowed_paths",
    "dm.defaultvolumesize": "default_size",
    "dm.fs": "default_fs",
}
_MOUNTED_BY_THE_HOST = "mount it on the host, and have --root there, or a folder of --allowed-paths"
# What to do instead, by the beginning of the keys of Convoy that have no meaning here.
_INSTEAD = {
    "vfs.": "a folder has no size unless a volume asks for one (size=10G); data lies below --root",
    "dm.": "there is no thin pool and no device to name: volumes of a fixed size are images of the "
    "backend loopback, below --root",
    "ebs.": f"there are no EBS volumes: {_MOUNTED_BY_THE_HOST}",
    "do.": f"there are no volumes of DigitalOcean: {_MOUNTED_BY_THE_HOST}",
    "glusterfs.": f"there is no driver for GlusterFS: {_MOUNTED_BY_THE_HOST}",
}


def driver_settings(pairs: tuple[str, ...]) -> dict[str, str]:
    """Settings of Convoy's `--driver-opts key=value`; unknown keys are refused."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise InvalidSetting("driver-opts", "flag", f"{pair!r} is not key=value")
        if key == "vfs.path":
            raise InvalidSetting(
                "driver-opts vfs.path", "flag", f"data lies below the root: use --root {value}"
            )
        if key not in DRIVER_OPTIONS:
            known = ", ".join(DRIVER_OPTIONS)
            hints = [f"; {hint}" for start, hint in _INSTEAD.items() if key.startswith(start)]
            told = f"unknown key {key!r}: use {known}{''.join(hints)}"
            raise InvalidSetting("driver-opts", "flag", told)
        found[DRIVER_OPTIONS[key]] = value
    return found
