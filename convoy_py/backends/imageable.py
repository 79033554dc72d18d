"""The power to hand the filesystem of a volume out as one file, and to make a volume of one."""

from abc import ABC, abstractmethod
from pathlib import Path

from convoy_py.backends.base import Place
from convoy_py.linux.fresh import Haste
from convoy_py.linux.reflink import Step
from convoy_py.models.volume import Spec


class Imageable(ABC):
    """Volumes whose data is a filesystem in a file: an image.

    A volume is made of one in this order, and abandoned if any of it fails:

        suits(made, spec)               what the image was made as, and what it is to become
        path = begin_image(place, size) staged; and then it is written there, to the last byte
        spec = take_image(place)        commit
    """

    @abstractmethod
    def image(self, place: Place) -> Path | None:
        """The file that is the whole filesystem of the data, and is the place's own. No I/O.

        None of what has none, such as a snapshot that lies in its volume's: a clone of it may.
        """

    @abstractmethod
    def renew(self, place: Place, target: Path, haste: Haste, step: Step) -> bool:
        """Make the new file `target` all that the image is by now, for writers who have that open.

        Raises Unsupported of what can have no other, and as `linux/fresh.py`, which tells the rest.
        """

    @abstractmethod
    def suits(self, made: Spec, spec: Spec) -> None:
        """Raise Unsupported, with the reason, if no volume of `spec` can be made of an image."""

    @abstractmethod
    def begin_image(self, place: Place, size: int) -> Path:
        """Make the file for an image in the place's empty home: so many bytes, all zeros."""

    @abstractmethod
    def take_image(self, place: Place) -> Spec:
        """Make a volume of the image that was written to that file; durable on return.

        Before it is mounted for the first time it is checked, by the tools of its filesystem, which
        has to be that of the place's spec: Corrupt. Then it is given an identity of its own and the
        size of the spec; Unsupported if it cannot get that. Owner and mode stay as they are in it.
        Returns the spec to be recorded.
        """
