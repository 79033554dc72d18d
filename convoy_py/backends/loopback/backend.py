"""Volumes in images: made, adopted, mounted, measured."""

import logging
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar

from convoy_py.backends.base import Backend, Place, refuse_changes
from convoy_py.backends.loopback import growth, image, inside
from convoy_py.backends.loopback.growth import ImageGrowth
from convoy_py.backends.loopback.image import DATA, SNAPSHOTS
from convoy_py.backends.loopback.snapshots import ImageSnapshots
from convoy_py.errors import Corrupt, ConvoyError, InvalidOption, NotFound, Unsupported
from convoy_py.linux import btrfs, files, filesystems, growing, loop, mounts
from convoy_py.linux.holders import Census, Holder
from convoy_py.logs import event
from convoy_py.models.sizes import format_size
from convoy_py.models.volume import IMAGE_SIZES, Filesystem, Options, Spec, Usage, show

log = logging.getLogger("convoy.loopback")
