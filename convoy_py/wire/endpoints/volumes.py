"""The calls of volumes: make, look at, use and remove them."""

from convoy_py import wire
from convoy_py.wire.endpoints.endpoint import Direct, nothing

LIST_VOLUMES = Direct("GET", "/v1/volumes", "All volumes", nothing, lambda: wire.volumes.VolumeList)
CREATE_VOLUME = Direct(
    "POST",
    "/v1/volumes",
    "Make a volume; one that exists with the same options is left as it is",
    lambda: wire.volumes.CreateVolume,
    lambda: wire.volumes.VolumeInfo,
    statuses=(201,),
)
INSPECT_VOLUME = Direct(
    "GET",
    "/v1/volumes/{name}",
    "One volume, or a snapshot as the volume that it is when mounted",
    nothing,
    lambda: wire.volumes.VolumeInfo,
    snapshots=True,
)
DELETE_VOLUME = Direct(
    "DELETE",
    "/v1/volumes/{name}",
    "Move a volume with its snapshots to the trash, or forget it and keep its data",
    lambda: wire.volumes.DeleteQuery,
    nothing,
    statuses=(204,),
)
MOUNT_VOLUME = Direct(
    "POST",
    "/v1/volumes/{name}/mount",
    "Mount a volume or a snapshot on the host and hold it under a name",
    lambda: wire.volumes.MountVolume,
    lambda: wire.volumes.Mounted,
    snapshots=True,
)
UMOUNT_VOLUME = Direct(
    "POST",
    "/v1/volumes/{name}/umount",
    "End a hold; what nobody holds is unmounted",
    lambda: wire.volumes.MountVolume,
    nothing,
    statuses=(204,),
    snapshots=True,
)
RENAME_VOLUME = Direct(
    "POST",
    "/v1/volumes/{name}/rename",
    "Give a volume that nobody uses another name",
    lambda: wire.volumes.RenameVolume,
    lambda: wire.volumes.VolumeInfo,
)
PROTECT_VOLUME = Direct(
    "POST",
    "/v1/volumes/{name}/protect",
    "Refuse to delete a volume from now on, or no longer",
    lambda: wire.volumes.ProtectVolume,
    lambda: wire.volumes.VolumeInfo,
)
