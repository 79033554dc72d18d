"""The loopback backend: a filesystem image in a file, attached to a loop device and mounted.

The image's size is the volume's hard limit. Containers see a folder inside the filesystem, so that
lost+found never shows and Docker finds an empty volume to copy an image's content into.

image.py      one image: its device, its mounts, and which of them are whose
file.py       the file it is kept in: begun, copied, made longer, reserved
inside.py     what lies in a btrfs image: the data, and the snapshots beside it
backend.py    the volumes
snapshots.py  the power to take snapshots, of either kind
growth.py     the power to grow, and to give space back
raw.py        the power to hand out an image as a file, and to make a volume of one
found.py      what lies in an image that was not made here
"""

from convoy_py.backends.loopback.backend import Images
from convoy_py.backends.loopback.growth import ImageGrowth
from convoy_py.backends.loopback.raw import RawImages
from convoy_py.backends.loopback.snapshots import ImageSnapshots


class Loopback(ImageSnapshots, ImageGrowth, RawImages, Images):
    """Volumes in filesystem images below the root, with all that can be done with them."""
