"""The calls of the admin API, one row each: what the daemon serves, describes, and the CLI asks.

A row names its messages without loading them: a short command needs none.
"""

from convoy_py.wire.endpoints.backups import *
from convoy_py.wire.endpoints.copies import *
from convoy_py.wire.endpoints.daemon import *
from convoy_py.wire.endpoints.endpoint import *
from convoy_py.wire.endpoints.jobs import *
from convoy_py.wire.endpoints.repositories import *
from convoy_py.wire.endpoints.schedules import *
from convoy_py.wire.endpoints.snapshots import *
from convoy_py.wire.endpoints.space import *
from convoy_py.wire.endpoints.trash import *
from convoy_py.wire.endpoints.volumes import *
