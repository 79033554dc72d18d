"""The loopback backend: a filesystem image in a file, attached to a loop device and mounted.

The image's size is the volume's hard limit. Containers see a folder inside the filesystem, so that
lost+found never shows and Docker finds an empty volume to copy an image's content into.

image.py      one image: its device, its mounts, and which of them are whose
inside.py     what lies in a btrfs image: the data, and the snapshots beside it
snapshots.py  the power to take snapshots, of either kind
growth.py     the power to grow, and to give space back
backend.py    the volumes themselves
"""

from convoy_py.backends.loopback.backend import Loopback

__all__ = ["Loopback"]
