"""One verb on several names: all are tried, and each that fails is told."""

from collections.abc import Callable, Iterable

from convoy_py.cli.terminal.exits import exit_code
from convoy_py.cli.terminal.output import complain, say, show_json
from convoy_py.cli.terminal.session import Session
from convoy_py.errors import ConvoyError, DaemonUnreachable


def try_each(verb: str, names: Iterable[str], act: Callable[[str], object]) -> int:
    """Call `act` with each name, with a repeated one once; each failure is one line on stderr.

    The exit code of the first failure, 0 if there was none.
    """
    failure: ConvoyError | None = None
    for name in dict.fromkeys(names):
        try:
            act(name)
        except DaemonUnreachable as error:
            # It holds for every other name too, and once is enough to say it.
            failure = failure or error
            complain(str(error))
            break
        except ConvoyError as error:
            failure = failure or error
            complain(f"{verb} {name}: {error}")
    return exit_code(failure) if failure else 0


def delete_each(
    session: Session, names: Iterable[str], delete: Callable[[str], object], verb: str = "delete"
) -> tuple[list[str], int]:
    """The names that are gone, which are shown too, and the exit code."""
    gone: list[str] = []

    def delete_one(name: str) -> None:
        delete(name)
        gone.append(name)
        if not session.output.asked_json:
            say(name)

    code = try_each(verb, names, delete_one)
    if session.output.asked_json:
        show_json(gone)
    return gone, code
