"""Jobs over several processes of this machine.

Each worker is a forked process with its own pipe, and has one item at a time, so that the item of a
worker that dies is known. (`multiprocessing.Pool` waits forever then; `concurrent.futures` abandons
all other items.) A worker ends when its pipe is closed, so none remains when this process ends.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Generic, NamedTuple

from harness.search.executors.interface import Item, Outcome, Result

AHEAD: Final = 32
"""How many items per worker may be done or under way beyond the one that is waited for."""
ATTEMPTS: Final = 2
"""How often an item is tried whose worker dies."""
STOP_S: Final = 5.0
"""How long a worker has to end before it is killed."""


class Processes:
    """`jobs` workers. They ignore Ctrl-C: this process answers it, and stops them."""

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise ValueError(f"jobs must be at least 1, not {jobs}")
        self.jobs = jobs

    def map(
        self, work: Callable[[Item], Result], items: Iterable[Item]
    ) -> Generator[Outcome[Item, Result], None, None]:
        crew: _WorkerPool[Item, Result] = _WorkerPool(work, self.jobs)
        try:
            yield from crew.outcomes(items)
        finally:
            crew.stop()


class _Task(NamedTuple, Generic[Item]):
    number: int
    item: Item
    attempt: int


class _Failure(NamedTuple):
    """What `work` raised."""

    error: Exception


class _Worker(Generic[Item]):
    """A process, the pipe to it, and what it is doing."""

    def __init__(self, work: Callable[[Item], Any], others: Iterable[_Worker[Item]]) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        inherited = [self.pipe, *(other.pipe for other in others)]
        self.process = context.Process(target=_serve, args=(theirs, work, inherited), daemon=True)
        self.task: _Task[Item] | None = None
        self.process.start()
        theirs.close()

    def give(self, task: _Task[Item]) -> None:
        self.task = task
        try:
            self.pipe.send(task.item)
        except OSError:
            """It has died; waiting for it detects that."""

    def is_ready(self, ready: list[Any]) -> bool:
        return self.pipe in ready or self.process.sentinel in ready

    def answer(self) -> Any:
        """The result, or a `_Failure`. Raises EOFError when the worker has died without one."""
        try:
            if self.pipe.poll():
                return self.pipe.recv()
        except OSError:
            pass
        raise EOFError

    def how_it_died(self) -> str:
        self.process.join(STOP_S)
        code = self.process.exitcode
        if code is None:
            return "its process closed its pipe"
        if code < 0:
            return f"its process was killed by {signal.Signals(-code).name}"
        return f"its process exited with status {code}"

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join(STOP_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


class _WorkerPool(Generic[Item, Result]):
    """The workers of one `map`, and the outcomes that wait for their turn."""

    def __init__(self, work: Callable[[Item], Result], jobs: int) -> None:
        self._work = work
        self._jobs = jobs
        self._workers: list[_Worker[Item]] = []
        self._again: deque[_Task[Item]] = deque()
        self._done: dict[int, Outcome[Item, Result] | _Failure] = {}
        self._next = 0
        self._given = 0

    def outcomes(self, items: Iterable[Item]) -> Iterator[Outcome[Item, Result]]:
        source = iter(items)
        while True:
            self._dispatch(source)
            busy = [worker for worker in self._workers if worker.task is not None]
            if not busy:
                return
            ready = wait([part for w in busy for part in (w.pipe, w.process.sentinel)])
            for worker in busy:
                if worker.is_ready(ready):
                    self._collect(worker)
            while self._next in self._done:
                outcome = self._done.pop(self._next)
                self._next += 1
                if isinstance(outcome, _Failure):
                    raise outcome.error
                yield outcome

    def _dispatch(self, source: Iterator[Item]) -> None:
        """Give every worker that is idle an item, as long as there are any."""
        idle = [worker for worker in self._workers if worker.task is None]
        while idle or len(self._workers) < self._jobs:
            task = self._task(source)
            if task is None:
                return
            worker = idle.pop() if idle else self._start_worker()
            worker.give(task)

    def _task(self, source: Iterator[Item]) -> _Task[Item] | None:
        if self._again:
            return self._again.popleft()
        if self._given >= self._next + AHEAD * self._jobs:
            return None
        for item in source:
            self._given += 1
            return _Task(self._given - 1, item, 1)
        return None

    def _start_worker(self) -> _Worker[Item]:
        worker = _Worker(self._work, self._workers)
        self._workers.append(worker)
        return worker

    def _collect(self, worker: _Worker[Item]) -> None:
        """Take what a worker has done; or, where it has died, see to its item."""
        task, worker.task = worker.task, None
        assert task is not None
        try:
            answer = worker.answer()
        except EOFError:
            reason = worker.how_it_died()
            self._workers.remove(worker)
            worker.stop()
            if task.attempt < ATTEMPTS:
                self._again.append(task._replace(attempt=task.attempt + 1))
            else:
                self._done[task.number] = Outcome(task.item, None, reason)
            return
        is_failure = isinstance(answer, _Failure)
        self._done[task.number] = answer if is_failure else Outcome(task.item, answer)

    def stop(self) -> None:
        """Nothing is left running."""
        for worker in self._workers:
            worker.stop()
        self._workers.clear()


def _serve(pipe: Connection, work: Callable[[Any], Any], inherited: list[Connection]) -> None:
    """What a worker does: items in, results out, until its pipe is closed."""
    for number in (signal.SIGINT, signal.SIGHUP):  # sent to the whole group; the parent ends us
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in inherited:  # else no worker would see that this process's parent has ended
        other.close()
    gc.freeze()  # what is there now is never garbage
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        answer = _answer(work, item)
        try:
            pipe.send(answer)
        except OSError:
            return
        except Exception as error:
            pipe.send(_Failure(TypeError(f"the result cannot leave its process: {error}")))


def _answer(work: Callable[[Any], Any], item: Any) -> Any:
    try:
        return work(item)
    except Exception as error:
        error.add_note("in a worker process:\n" + traceback.format_exc())
        return _Failure(error)
