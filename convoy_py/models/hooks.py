"""What is done to containers around the taking of a snapshot, so that its data is consistent."""

import json
from collections.abc import Iterable
from typing import Self

from convoy_py.errors import Invalid
from convoy_py.models.values import Frozen

_FORM = "such as 'db: pg_dump app -f /data/dump.sql'"


class Command(Frozen):
    """What is run in a container, which goes by its name or id."""

    container: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, container: str, text: str) -> Self:
        """A line for the container's shell, or a JSON list of words that needs no shell.

        Raises Invalid.
        """
        text = text.strip()
        if not text.startswith("["):
            words: object = ["/bin/sh", "-c", text]
        else:
            try:
                words = json.loads(text)
            except ValueError:
                words = None
        if not text or not isinstance(words, list) or not words:
            raise Invalid(f"{text!r} is no command: give a line, or a JSON list of words")
        if not all(isinstance(word, str) and "\0" not in word for word in words):
            raise Invalid(f"{text!r} is no command: its words have to be text")
        return cls(container=container, words=tuple(words))

    @classmethod
    def parsed(cls, text: str) -> Self:
        """`CONTAINER: command`, as a user writes it; raises Invalid."""
        container, colon, command = text.partition(":")
        container = container.strip()
        if not colon or not container or " " in container:
            raise Invalid(f"{text!r} is not CONTAINER: command, {_FORM}")
        return cls.of(container, command)

    def __str__(self) -> str:
        told = self.words[-1] if self.words[:2] == ("/bin/sh", "-c") else " ".join(self.words)
        return f"{told!r} in container {self.container}"


class Hooks(Frozen):
    """What surrounds a snapshot, in this order: before, stop, pause, and back; after.

    `pause` and `stop` are of all containers that use the volumes, `paused` and `stopped` of those
    with these ids alone.
    """

    before: tuple[Command, ...] = ()
    after: tuple[Command, ...] = ()
    pause: bool = False
    stop: bool = False
    paused: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()

    @classmethod
    def asked(
        cls, before: Iterable[str], after: Iterable[str], *, pause: bool = False, stop: bool = False
    ) -> Self:
        """As a user asks for them, each command as `Command.parsed` takes it; raises Invalid."""
        return cls(
            before=tuple(map(Command.parsed, before)),
            after=tuple(map(Command.parsed, after)),
            pause=pause,
            stop=stop,
        )

    @property
    def halts(self) -> bool:
        return bool(self.pause or self.stop or self.paused or self.stopped)


NO_HOOKS = Hooks()
