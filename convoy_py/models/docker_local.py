"""What Docker's own driver `local` mounts and this one does not, and what to use here instead."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

# `type=none,o=bind,device=/x` is how it spells `path=/x`; the kernel ignores the type of a bind.
_FOLDER = ("", "none", "bind")
_BINDS = {"bind", "rbind"}
# By what else these can be known, where no type is given.
_MARKS = {
    "nfs": {"addr", "nfsvers", "nolock", "mountaddr"},
    "cifs": {"username", "password", "credentials"},
    "overlay": {"lowerdir", "upperdir", "workdir"},
}
_NFS_DEVICE = re.compile(r"[^/]*:/.*")
_ON_DEVICES = ("ext2", "ext3", "ext4", "xfs", "btrfs", "block")
_IMAGES = ("ext4", "xfs", "btrfs")

_MOUNT_IT = (
    "mount it on the host, in a folder below one of the setting allowed_paths, "
    "and write path=FOLDER; or leave this volume to the driver `local`"
)
_ADVICE = {
    "nfs": f"this driver mounts no NFS share: {_MOUNT_IT}",
    "cifs": f"this driver mounts no SMB share: {_MOUNT_IT}",
    "tmpfs": "a volume of this driver lies on disk: leave this one to the driver `local`, or give "
    "the container a tmpfs of its own (--tmpfs); for a limit alone write size=SIZE without `type`",
    "overlay": "for a writable copy that shares the data of a volume write from=VOLUME; "
    f"for any other overlay: {_MOUNT_IT}",
}
_SAME_AS = {
    "nfs4": "nfs",
    "smb3": "cifs",
    "smbfs": "cifs",
    "ramfs": "tmpfs",
    "overlayfs": "overlay",
}


def advice(given: Mapping[str, str]) -> str | None:
    """One line for a `type`, `o` or `device` that asks for more than a folder; None if it is one.

    `given` has those three in lower case. Values of `o` are not repeated: one may be a password.
    """
    kind, device = given.get("type", "").strip().lower(), given.get("device", "").strip()
    names = {part.partition("=")[0].strip().lower() for part in given.get("o", "").split(",")}
    if kind in _FOLDER:
        kind = _looks_like(names, device)
        if not kind:
            return None
    kind = _SAME_AS.get(kind, kind)
    if kind in _ADVICE:
        return _ADVICE[kind]
    if kind in _ON_DEVICES:
        image = f"an image in a file is -o fs={kind if kind in _IMAGES else 'ext4'}"
        return f"{image}, without `type`; for a device: {_MOUNT_IT}" if device else image
    return f"this driver mounts no {kind}: {_MOUNT_IT}"


def binds(given: Mapping[str, str]) -> bool:
    """Whether it asks for a folder of the host, named or not."""
    return not _BINDS.isdisjoint(part.strip().lower() for part in given.get("o", "").split(","))


def _looks_like(names: Iterable[str], device: str) -> str:
    """The type that was meant, by its options or the form of its device; "" for a folder's."""
    for kind, marks in _MARKS.items():
        if not marks.isdisjoint(names):
            return kind
    if device.startswith("//"):
        return "cifs"
    if _NFS_DEVICE.fullmatch(device):
        return "nfs"
    if device == "tmpfs":
        return "tmpfs"
    # A folder there is one of memory.
    in_dev = device.startswith("/dev/") and PurePosixPath(device).parts[2:3] != ("shm",)
    return "block" if in_dev else ""
