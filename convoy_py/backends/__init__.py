"""The family of backends: a new member is one row here, and its names are one in models/options."""

from collections.abc import Callable, Mapping

from convoy_py.backends.base import Backend
from convoy_py.backends.directory import Directory
from convoy_py.backends.loopback import Loopback
from convoy_py.settings import Settings

BACKENDS: Mapping[str, Callable[[Settings], Backend]] = {
    Directory.name: lambda settings: Directory(
        settings.root,
        settings.allowed_paths,
        (settings.run_dir, settings.mounts),
        settings.allowed_mount_options,
    ),
    Loopback.name: lambda settings: Loopback(
        settings.root,
        settings.default_size,
        settings.default_fs,
        settings.allowed_mount_options,
    ),
}
