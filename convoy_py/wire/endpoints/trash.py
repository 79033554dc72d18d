"""The calls of removed volumes."""

from convoy_py import wire
from convoy_py.wire.endpoints.endpoint import Direct, nothing

LIST_TRASH = Direct(
    "GET", "/v1/trash", "The removed volumes, oldest first", nothing, lambda: wire.trash.TrashList
)
RESTORE_TRASH = Direct(
    "POST",
    "/v1/trash/restore",
    "Give a removed volume back, by name or key, under its name or another",
    lambda: wire.trash.RestoreTrash,
    lambda: wire.volumes.VolumeInfo,
)
PURGE_TRASH = Direct(
    "POST",
    "/v1/trash/purge",
    "Delete a removed volume for good, by name or key, or all",
    lambda: wire.trash.PurgeTrash,
    lambda: wire.trash.Purged,
)
