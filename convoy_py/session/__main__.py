"""`python -m convoy_py.session`: one request from stdin, events to stdout."""

import os
import signal
import sys

from convoy_py.errors import Kind
from convoy_py.linux import priority, secrecy
from convoy_py.models.session import Failed, heard
from convoy_py.models.sizes import format_size
from convoy_py.restic.errors import RepositoryError
from convoy_py.restic.locks import SystemClock
from convoy_py.session.failures import kind_of
from convoy_py.session.speech import Speech
from convoy_py.session.tasks import perform


def main() -> int:
    # A restic on this host asks the process of a lock whether it lives by this signal.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    priority.be_last()
    memory = priority.bound_memory()
    secrecy.dump_nothing()
    speech = Speech(sys.stdin, sys.stdout)
    request = heard(speech.hear())
    try:
        speech.tell(perform(request, speech, SystemClock()))
    except RepositoryError as error:
        speech.tell(Failed(kind=kind_of(error).value, message=str(error)))
    except OSError as error:
        speech.tell(Failed(kind=Kind.FAILED.value, message=os.fsdecode(os.fsencode(str(error)))))
    except MemoryError:
        why = f"what is in the repository needs more than {format_size(memory)} of memory"
        speech.tell(Failed(kind=Kind.FAILED.value, message=why))
    return 0


def _end(number: int, frame: object) -> None:
    """Leave by the way of all errors: locks are given back."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
