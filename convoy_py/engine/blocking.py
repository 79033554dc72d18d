"""The only door from coroutines into worker threads; what went through is never cancelled."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# More volumes than this can be stuck on dead storage before a healthy one has to wait.
THREADS = 64
# Long work has threads of its own: however much of it there is, a Mount finds one.
LONG_THREADS = 16


class Blocking:
    """Runs blocking calls in threads of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="convoy")
        self._long = ThreadPoolExecutor(LONG_THREADS, thread_name_prefix="convoy-long")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` in a thread. If the awaiting task is cancelled, the call still goes on."""
        return await self._run(self._pool, lambda: call(*args, **kwargs))

    async def run_long(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for work that may take minutes: it may have to wait for its turn."""
        return await self._run(self._long, lambda: call(*args, **kwargs))

    def close(self) -> None:
        """Take no more calls; do not wait for those that hang."""
        for pool in (self._pool, self._long):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(pool, call))
