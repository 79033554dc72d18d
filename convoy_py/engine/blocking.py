"""The only door from coroutines into worker threads; what went through is never cancelled."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# More volumes than this can be stuck on dead storage before a healthy one has to wait.
THREADS = 64


class Blocking:
    """Runs blocking calls in threads of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="convoy")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` in a thread. If the awaiting task is cancelled, the call still goes on."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._pool, lambda: call(*args, **kwargs)))

    def close(self) -> None:
        """Take no more calls; do not wait for those that hang."""
        self._pool.shutdown(wait=False, cancel_futures=True)
