"""What a takeover came to."""

from convoy_py.models.values import Frozen
from convoy_py.models.volume import View


class Takeover(Frozen):
    """`lost` is the snapshot that has what the volume was, and what is written there still.

    It is empty for a directory: that is many hosts' at once, and stays what it is.
    """

    view: View
    losers: tuple[str, ...]  # the hosts that had it
    lost: str
