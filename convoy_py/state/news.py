"""Whether anything changed on a shared root: a register that whoever changes something raises.

<root>/news/<number>.<host>/        register
"""

import logging
from pathlib import Path

from convoy_py.errors import ConvoyError
from convoy_py.logs import event
from convoy_py.models.claims import Member
from convoy_py.state import register

log = logging.getLogger("convoy.hosts")

NEWS = "news"


class News:
    """The news of one root, as one host tells and hears them. Methods do disk I/O."""

    def __init__(self, root: Path, me: Member) -> None:
        self._folder = root / NEWS
        self._me = me

    def open(self) -> None:
        """Make the register, unless it is there."""
        register.make(self._folder, f"0.{self._me.host}")

    def hear(self) -> str:
        """What it says now: other than before if anything changed. Raises Unavailable."""
        return register.read(self._folder)

    def tell(self) -> None:
        """Something changed. If another was quicker he told it, too: who hears him looks now."""
        try:
            value = register.read(self._folder)
            number = int(value.partition(".")[0]) + 1
            register.swap(self._folder, value, f"{number}.{self._me.host}")
        except (OSError, ConvoyError) as error:
            event(log, logging.WARNING, "other hosts hear of a change later", failure=error)
