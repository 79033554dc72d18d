"""A session that counts what it changes, and dies, or fails, at the one that was chosen.

Run as a program, with the control file and the trace file of `tripwire`, in the place of
`python -m convoy_py.session`. Its changes are told with the prefix `session:`.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])  # not this folder, whose names are no modules
    sys.dont_write_bytecode = True

from convoy_py.session.__main__ import main
from tests.crash.tripwire import Tripwire

SESSION = "session:"

if __name__ == "__main__":
    Tripwire(Path(sys.argv[1]), Path(sys.argv[2]), SESSION).install()
    sys.exit(main())
