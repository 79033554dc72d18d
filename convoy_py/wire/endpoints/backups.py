"""The calls of backups, and of what comes back from them."""

from convoy_py import wire
from convoy_py.wire.endpoints.endpoint import Long

CREATE_BACKUPS = Long(
    "POST",
    "/v1/backups",
    "Back up volumes, by a snapshot of all at one moment, or snapshots that are there",
    lambda: wire.backups.CreateBackups,
    lambda: wire.backups.BackupList,
)
LIST_BACKUPS = Long(
    "GET",
    "/v1/backups",
    "The backups in the repositories that are known, of this host and of others",
    lambda: wire.backups.BackupsQuery,
    lambda: wire.backups.BackupList,
)
INSPECT_BACKUP = Long(
    "GET",
    "/v1/backups/inspect",
    "One backup",
    lambda: wire.backups.BackupQuery,
    lambda: wire.backups.BackupInfo,
)
DELETE_BACKUPS = Long(
    "POST",
    "/v1/backups/delete",
    "Delete backups",
    lambda: wire.backups.DeleteBackups,
    lambda: wire.backups.BackupList,
)
PROTECT_BACKUPS = Long(
    "POST",
    "/v1/backups/protect",
    "Have backups stay whatever a policy keeps, or no more",
    lambda: wire.backups.ProtectBackups,
    lambda: wire.backups.BackupList,
)
FORGET_BACKUPS = Long(
    "POST",
    "/v1/backups/forget",
    "Delete the backups of this host that a policy does not keep",
    lambda: wire.backups.ForgetBackups,
    lambda: wire.backups.Forgotten,
)
PRUNE_REPOSITORY = Long(
    "POST",
    "/v1/backups/prune",
    "Give back what no backup in a repository needs any more",
    lambda: wire.backups.PruneRepository,
    lambda: wire.backups.Pruned,
    noun="repository",
)
PROVE_BACKUPS = Long(
    "POST",
    "/v1/backups/prove",
    "Restore backups into a place beside, which goes again, and compare",
    lambda: wire.backups.ProveBackups,
    lambda: wire.backups.Proved,
)
VERIFY_REPOSITORY = Long(
    "POST",
    "/v1/backups/verify",
    "Look whether all that backups need is in a repository, and whole",
    lambda: wire.backups.VerifyRepository,
    lambda: wire.backups.Verified,
    noun="repository",
)
RESTORE_BACKUP = Long(
    "POST",
    "/v1/backups/restore",
    "Make a volume with the data of a backup in it",
    lambda: wire.backups.RestoreBackup,
    lambda: wire.volumes.VolumeInfo,
)
