"""What is done to containers around the taking of a snapshot, so that its data is consistent."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Self

from convoy_py.errors import Invalid
from convoy_py.models.values import Frozen

# What a container's labels begin with that are heeded when its volumes are backed up.
LABEL = "convoy.backup."
_LABELS = ("before", "after", "pause", "stop")
_ID = re.compile(r"[0-9a-f]{64}")
_FORM = "such as 'db: pg_dump app -f /data/dump.sql'"


class Command(Frozen):
    """What is run in a container, which goes by its name or id; `name` is for people."""

    container: str
    words: tuple[str, ...]
    name: str = ""

    @classmethod
    def of(cls, container: str, text: str, name: str = "") -> Self:
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
        return cls(container=container, words=tuple(words), name=name)

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
        return f"{told!r} in container {self.told}"

    @property
    def told(self) -> str:
        """The container, as people know it."""
        container = self.container
        return self.name or (container[:12] if _ID.fullmatch(container) else container)


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

    def labelled(self, key: str, name: str, labels: Mapping[str, str]) -> "Hooks":
        """With what the labels of a container that uses the volumes ask for; raises Invalid.

        It goes by its id, the `key`: its name may be another's by the time a command is run.
        """
        asked = {what: labels.get(f"{LABEL}{what}", "") for what in _LABELS}
        try:
            before, after = (
                (Command.of(key, asked[when], name),) if asked[when] else ()
                for when in ("before", "after")
            )
            pause, stop = (
                frozenset([key] if _is_on(asked[what]) else []) for what in ("pause", "stop")
            )
        except Invalid as error:
            raise Invalid(f"container {name}, label {LABEL}…: {error}") from None
        return Hooks(
            before=(*self.before, *before),
            after=(*self.after, *after),
            pause=self.pause,
            stop=self.stop,
            paused=self.paused | pause,
            stopped=self.stopped | stop,
        )

    @property
    def halts(self) -> bool:
        return bool(self.pause or self.stop or self.paused or self.stopped)


def _is_on(text: str) -> bool:
    if text.lower() not in ("", "true", "false"):
        raise Invalid(f"{text!r} is not true or false")
    return text.lower() == "true"


NO_HOOKS = Hooks()
