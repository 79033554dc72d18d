"""The rules by which mount references are counted; pure functions over one volume's references.

Docker counts a mount ID up once per Mount, and `docker cp` on a running container mounts that
container's ID a second time: hence a count per ID. An engine that died never sends its Unmounts,
and its successor mounts the old IDs anew: hence the epoch, which says in which life of the engine
an ID was counted. An epoch is `<pid>:<start time>` of the engine's process where it can be seen.

Invariant: every count is at least 1, so a volume is held exactly while it has holds.
"""

from convoy_py.linux import peers
from convoy_py.state.records import Hold, References

# A hold that an operator took by `convoy mount`: only the operator or a reboot ends it.
OPERATOR = "operator"
# How the epoch of an engine begins whose process is hidden by a pid namespace: so are the mount
# namespaces of its containers, and nobody can say that a volume is not in use.
UNSEEN = "unseen:"
# Podman uses this one ID for every volume and keeps the count itself; its processes are
# short-lived, so their end says nothing. Source: libpod/define/volume_inspect.go.
PODMAN_ID = "2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2"
# The one reference of whoever mounts without an ID: a call that was made by hand, whose process
# ends at once.
NO_ID = "no ID"
# Held or not held, and only an Unmount says that it is over.
_FLAGS = {PODMAN_ID, NO_ID}


def acquire(references: References, mount_id: str, epoch: str) -> References:
    """Count a Mount: one more in the same epoch, the first of a new one; a flag is not counted."""
    held = references.holds.get(mount_id)
    flag = mount_id in _FLAGS or epoch == OPERATOR
    before = held.count if held is not None and held.epoch == epoch and not flag else 0
    return _replace(references, mount_id, Hold(count=before + 1, epoch=epoch))


def release(references: References, mount_id: str, epoch: str | None = None) -> References:
    """Count an Unmount; one of an ID that is not held changes nothing.

    With an `epoch`, only what was counted in it: so a Mount that is taken back late does not end
    the hold of its own repeat.
    """
    held = references.holds.get(mount_id)
    if held is None or epoch not in (None, held.epoch):
        return references
    if held.count == 1:
        return drop(references, mount_id)
    return _replace(references, mount_id, Hold(count=held.count - 1, epoch=held.epoch))


def drop(references: References, *mount_ids: str) -> References:
    """Forget all counts of some IDs."""
    holds = {k: v for k, v in references.holds.items() if k not in mount_ids}
    return references.model_copy(update={"holds": holds})


def is_anothers(references: References, mount_id: str, epoch: str) -> bool:
    """Whether an operator asks for a name that an engine holds by, or the other way round."""
    held = references.holds.get(mount_id)
    return held is not None and (held.epoch == OPERATOR) != (epoch == OPERATOR)


def operators(references: References) -> list[str]:
    """The names that operators gave to their holds."""
    return [k for k, v in references.holds.items() if v.epoch == OPERATOR]


def collectable(references: References) -> dict[str, str]:
    """ID -> epoch of what is a leak if nobody holds the volume: the holds of engines we see."""
    return {
        k: v.epoch
        for k, v in references.holds.items()
        if k not in _FLAGS and v.epoch != OPERATOR and not v.epoch.startswith(UNSEEN)
    }


def unseen(references: References) -> bool:
    """Whether an engine holds the volume whose containers this daemon cannot see."""
    return any(hold.epoch.startswith(UNSEEN) for hold in references.holds.values())


def epoch_lasts(epoch: str) -> bool:
    """Whether the process that an epoch `<pid>:<start time>` names is still there."""
    pid, _, start = epoch.partition(":")
    return pid.isdigit() and start.isdigit() and peers.start_time(int(pid)) == int(start)


def _replace(references: References, mount_id: str, hold: Hold) -> References:
    return references.model_copy(update={"holds": {**references.holds, mount_id: hold}})
