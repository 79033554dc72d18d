"""The only door from coroutines into worker threads; what went through is never cancelled.

The storage of the root has many threads. Any other, on which users have their folders, has a few of
its own, for all its volumes together: what hangs there takes none from the rest.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, ParamSpec, TypeVar

from convoy_py.errors import Cancelled, NoAnswer
from convoy_py.linux import mounts, pulse

P = ParamSpec("P")
T = TypeVar("T")

# More volumes than this can be stuck on dead storage before a healthy one has to wait.
THREADS = 64
# Long work has threads of its own: however much of it there is, a Mount finds one.
LONG_THREADS = 16
# The same for each other storage. Questions of the background leave some to the verbs.
FEW_THREADS, FEW_LONG_THREADS, FEW_QUESTIONS = 4, 2, 2
QUESTIONS = 16
# Seconds without a sign of life after which a question has no answer: the root may be a slow disk.
PATIENCE_SECONDS, LITTLE_PATIENCE_SECONDS = 60.0, 5.0


class Threads:
    """The threads for what lies on one storage."""

    def __init__(
        self, short: int, long: int, questions: int, *, patience: float, as_one: bool
    ) -> None:
        """`as_one`: while one question has no answer there, no other would have one."""
        self._pool = ThreadPoolExecutor(short, thread_name_prefix="convoy")
        self._long = ThreadPoolExecutor(long, thread_name_prefix="convoy-long")
        self._turns = asyncio.Semaphore(questions)
        self._patience = patience
        self._as_one = as_one
        self._silent: Counter[str] = Counter()  # about what was asked, and given up

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` in a thread. If the awaiting task is cancelled, the call still goes on."""
        return await self._run(self._pool, lambda: call(*args, **kwargs))

    async def run_long(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for work that may take minutes: it may have to wait for its turn."""
        return await self._run(self._long, lambda: call(*args, **kwargs))

    async def ask(self, about: str, call: Callable[[], T], patience: float | None = None) -> T:
        """The same for what only looks, on behalf of nobody or of a report on many volumes.

        It may take its time, as long as it shows by `pulse.beat` that it gets on. Raises NoAnswer
        if it does not for `patience` seconds, and at once as long as such a call has not ended.
        """
        if self._silent[about] or (self._as_one and self._silent.total()):
            raise NoAnswer(about)
        patience = self._patience if patience is None else patience
        try:
            async with asyncio.timeout(patience):
                await self._turns.acquire()
        except TimeoutError:
            raise NoAnswer(about) from None
        question = _Question(call)
        answer = asyncio.get_running_loop().run_in_executor(self._pool, question)
        answer.add_done_callback(lambda _: self._turns.release())
        while (left := question.heard + patience - time.monotonic()) > 0:
            await asyncio.wait({answer}, timeout=left)
            if answer.done():
                return answer.result()
        question.given_up = True
        self._silent[about] += 1
        answer.add_done_callback(lambda answer: self._ended(about, answer))
        raise NoAnswer(about)

    def close(self) -> None:
        """Take no more calls; do not wait for those that hang."""
        for pool in (self._pool, self._long):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(pool, call))

    def _ended(self, about: str, answer: "asyncio.Future[T]") -> None:
        self._silent[about] -= 1
        with suppress(asyncio.CancelledError):
            answer.exception()  # nobody wants to know it any more


class Blocking(Threads):
    """The threads of one daemon: those of the root's storage, and of each other that is used."""

    def __init__(self) -> None:
        super().__init__(THREADS, LONG_THREADS, QUESTIONS, patience=PATIENCE_SECONDS, as_one=False)
        self._others: dict[str, Threads] = {}  # by the device of the filesystem

    async def of(self, path: str | None) -> Threads:
        """Those for a folder of the host, told by its name alone; None is a folder of the root."""
        if path is None:
            return self
        device = await self.run(_device, path)
        if device not in self._others:
            self._others[device] = Threads(
                FEW_THREADS,
                FEW_LONG_THREADS,
                FEW_QUESTIONS,
                patience=LITTLE_PATIENCE_SECONDS,
                as_one=True,
            )
        return self._others[device]

    def close(self) -> None:
        super().close()
        for threads in self._others.values():
            threads.close()


class _Question(Generic[T]):
    """A call of which is known when it last got on."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self.heard = time.monotonic()
        self.given_up = False

    def __call__(self) -> T:
        with pulse.heard(self._beat):
            self._beat()
            return self._call()

    def _beat(self) -> None:
        if self.given_up:
            raise Cancelled("nobody waits for it any more")
        self.heard = time.monotonic()


def _device(path: str) -> str:
    mount = mounts.Covers().of(path)
    return mount.device if mount else ""
