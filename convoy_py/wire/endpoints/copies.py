"""The calls of what is copied: clones, files brought back, volumes taken over and given away."""

from convoy_py import wire
from convoy_py.wire.endpoints.endpoint import Long

CLONE_VOLUME = Long(
    "POST",
    "/v1/volumes/{name}/clone",
    "Make a volume that begins as a copy of another, or of a snapshot of it",
    lambda: wire.copies.CloneVolume,
    lambda: wire.volumes.VolumeInfo,
)
DIFF = Long(
    "GET",
    "/v1/volumes/{name}/diff",
    "What changed in a volume between two snapshots, or since one",
    lambda: wire.copies.DiffQuery,
    lambda: wire.copies.Difference,
)
RESTORE_FILE = Long(
    "POST",
    "/v1/volumes/{name}/restore-file",
    "Bring one file, or one folder with all in it, back from a snapshot",
    lambda: wire.copies.RestoreFile,
    lambda: wire.copies.RestoredFile,
)
CONVERT_VOLUME = Long(
    "POST",
    "/v1/volumes/{name}/convert",
    "Change a volume that nobody uses into one of another backend, filesystem or size",
    lambda: wire.copies.ConvertVolume,
    lambda: wire.volumes.VolumeInfo,
)
TAKE_OVER = Long(
    "POST",
    "/v1/volumes/{name}/takeover",
    "Take a volume of a shared root from a host that is dead",
    lambda: wire.copies.TakeOver,
    lambda: wire.copies.TakenOver,
)
ADOPT = Long(
    "POST",
    "/v1/adopt",
    "Copy volumes of Docker's local driver into volumes of ours",
    lambda: wire.copies.Adopt,
    lambda: wire.copies.Adopted,
)
RELEASE = Long(
    "POST",
    "/v1/release",
    "Give volumes of ours to Docker's local driver",
    lambda: wire.copies.Release,
    lambda: wire.copies.Released,
)
