"""The value that tells where a volume's space is."""

from collections.abc import Mapping

from convoy_py.models.values import Frozen


class Account(Frozen):
    """Bytes of one volume; None where it is not known or means nothing.

    `frees` says of each snapshot what deleting it alone would give back.
    """

    name: str
    promised: int | None
    used: int | None
    allocated: int | None
    shared: int | None
    reclaimable: int | None
    frees: Mapping[str, int | None]
