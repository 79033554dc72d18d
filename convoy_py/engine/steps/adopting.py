"""Data that is to be adopted: what was known of it before, and which backend takes it."""

import logging
from collections.abc import Mapping
from pathlib import Path

from convoy_py.backends.base import Backend
from convoy_py.errors import Corrupt, InvalidOption, NotFound, Unsupported
from convoy_py.logs import event
from convoy_py.models.volume import Options
from convoy_py.state import data
from convoy_py.state.claims import RECORD
from convoy_py.state.formats import Newer, Unreadable
from convoy_py.state.records import Record
from convoy_py.state.store import KEPT, Store

log = logging.getLogger("convoy.engine")


def record_before(store: Store, name: str) -> Record | None:
    """What was known of data that is to be adopted; also one that was put in its place.

    Raises Corrupt if a newer daemon wrote it, for adopting would replace it.
    """
    for file in (RECORD, KEPT):
        try:
            return store.read(name, file)
        except FileNotFoundError:
            continue
        except Newer as problem:
            raise Corrupt(f"volume {name}: {problem}") from None
        except Unreadable as problem:
            event(log, logging.WARNING, "options of before lost", volume=name, failure=problem)
    return None


def backend(
    backends: Mapping[str, Backend], home: Path, options: Options, old: Record | None
) -> Backend:
    """The backend that takes what lies in `home`, or in the user's folder.

    Raises NotFound, and InvalidOption where more than one might.
    """
    wanted = options.backend or (old.spec.backend if old else None)
    if wanted is not None and wanted not in backends:
        raise Unsupported(f"backend {wanted} is not on here; use {', '.join(backends)}")
    usually = {each.usual for each in backends.values()}
    if old is None and home.is_dir() and (numbered := data.numbered(home, usually)):
        # Which of them was the volume's, its record said.
        raise InvalidOption(
            f"volume {home.name}: {home} has {', '.join(numbered)}, and no record that says "
            "which data is the volume's: give that the name without a number, and move all else "
            "away"
        )
    named = old.data if old else None
    found = [each for each in backends.values() if each.recognises(home, named)]
    if not found and (options.path or (old and old.spec.path)):
        found = [each for each in backends.values() if "path" in each.takes]
    if not found:
        known = " or ".join(each.adopts for each in backends.values())
        raise NotFound(f"volume {home.name}: nothing to adopt; put {known} into {home} first")
    if wanted is not None:
        return backends[wanted]
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        raise InvalidOption(f"volume {home.name}: {home} has data of {names}: say which (backend)")
    return found[0]
