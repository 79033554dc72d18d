"""Commands that are loaded when they are named: their messages take longer to load than to show."""

from importlib import import_module
from typing import Any

import click


class Later(click.Command):
    """Stands for the command `attribute` of `module` in its group's help and completion."""

    def __init__(self, name: str, module: str, attribute: str, short_help: str) -> None:
        super().__init__(name, short_help=short_help)
        self._module = module
        self._attribute = attribute

    def load(self) -> click.Command:
        command = getattr(import_module(self._module), self._attribute)
        assert isinstance(command, click.Command)
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """That of the command itself, with which click goes on."""
        return self.load().make_context(info_name, args, parent, **extra)
