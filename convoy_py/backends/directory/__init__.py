"""The directory backend: a plain folder, bind-mounted; writes reach the host's filesystem directly.

The bind mount costs nothing on the data path and carries nosuid, nodev and the user's mount
options. A size is enforced by a quota where the host's filesystem has one: a subvolume's on btrfs,
a project's on ext4 and xfs.

folder.py     where a volume's folder is, also one of the user's own
limits.py     the quotas that enforce a size
backend.py    the volumes
snapshots.py  the power to take snapshots: of subvolumes, else file by file
resizing.py   the power to change a limit
"""

from convoy_py.backends.directory.backend import Folders
from convoy_py.backends.directory.resizing import FolderResizing
from convoy_py.backends.directory.snapshots import FolderSnapshots


class Directory(FolderSnapshots, FolderResizing, Folders):
    """Volumes in folders below the root, or below folders that the administrator allowed."""
