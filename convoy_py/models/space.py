"""The value that tells where a volume's space is."""

from collections.abc import Mapping

from convoy_py.models.values import Frozen


class Account(Frozen):
    """Bytes of one volume; None where it is not known or means nothing.

    `frees` says of each snapshot what deleting it alone would give back; `note` why nothing is
    known of a volume whose storage hangs.
    """

    name: str
    promised: int | None
    used: int | None = None
    allocated: int | None = None
    shared: int | None = None
    reclaimable: int | None = None
    inodes: int | None = None  # how many files there may be, and how many there are
    inodes_used: int | None = None
    frees: Mapping[str, int | None]
    note: str = ""
