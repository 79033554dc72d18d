"""The `convoy` command's entry: the only place where the command line and the daemon meet."""

import os
from typing import TYPE_CHECKING, NoReturn

from convoy_py.cli.app import convoy

if TYPE_CHECKING:
    from convoy_py.config import Configuration


def main() -> NoReturn:
    convoy.main(obj=_serve)
    raise AssertionError("the command exits by itself")


def _serve(configuration: "Configuration") -> int:
    # Here, as `convoy list` must not wait for the daemon's imports.
    import logging  # noqa: PLC0415

    from convoy_py.daemon import serve  # noqa: PLC0415

    code = serve(configuration)
    logging.shutdown()
    # Not sys.exit: that would wait for threads that hang on dead storage.
    os._exit(code)


if __name__ == "__main__":
    main()
