"""Gives the image of a volume a fresh inode, and dies at the step that was chosen.

Run as a program while no daemon does, with the root and the run folder, the control file and the
trace file of `tripwire`, and the volume's name.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])  # not this folder, whose names are no modules
    sys.dont_write_bytecode = True

from convoy_py.backends.loopback import Loopback
from convoy_py.engine.memory.ledger import Ledger
from convoy_py.engine.steps import loading
from convoy_py.engine.steps.host import Host
from convoy_py.engine.steps.renewing import Renewing
from convoy_py.linux.fresh import Haste
from convoy_py.models.filesystem import Filesystem
from convoy_py.state.passed import PassedTime
from convoy_py.state.references import ReferenceStore
from convoy_py.state.store import Store
from tests.crash.tripwire import Tripwire

NOW = 1_767_323_045.0  # 2026-01-02T03:04:05Z
LOST = "lost-b-20260102-030405"


def main(root: Path, run: Path, control: Path, trace: Path, name: str) -> None:
    store = Store(root)
    store.open("a test")
    host = Host(
        store,
        ReferenceStore(run, "boot"),
        {"loopback": Loopback(root, 0, Filesystem.EXT4)},
        Ledger(root, overcommit=1000.0, reserve=0),
        run / "mounts",
        PassedTime(root, "boot", lambda: 0.0, lambda: NOW),
    )
    volume = loading.entry(host, name, store.read(name))
    Tripwire(control, trace).install()
    haste = Haste(lambda: 0.0, None, lambda: None)
    assert Renewing(host).renew(volume, "b", haste, lambda _: None)


if __name__ == "__main__":
    _root, _run, _control, _trace, _name = sys.argv[1:]
    main(Path(_root), Path(_run), Path(_control), Path(_trace), _name)
