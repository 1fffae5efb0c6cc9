"""Prepares many pictures, on all processor cores and in order."""

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from digits.errors import RunError, UserError
from digits.preparation import opening, photo
from digits.signals import STOP_SIGNALS, replace_handlers

BATCH_SIZE = 64  # pictures; this process prepares a single batch itself, before others would have started
PREFETCH_BATCHES = 32  # prepared ahead of use, in the seconds that a network takes to load

Prepared = tuple[str, Any, UserError | None]
"""A picture's name; what was prepared, such as an image, (28, 28) uint8; or None, and the error that prevented it."""


@contextlib.contextmanager
def prepare(
    pictures: Sequence[str], prepare_one: Callable[[Path | bytes], Any], source: Callable[[str], Path | bytes] = Path
) -> Iterator[Iterable[list[Prepared]]]:
    """Prepare pictures, batch by batch. Many pictures are prepared on all processor cores, ahead of use.

    However many pictures there are, memory holds the results of about two thousand at a time.

    Args:
        pictures: Names of files.
        prepare_one: Prepares a file, or its content; a function that can be pickled.
        source: Turns a name into the file, or its content.

    Raises:
        RunError: If a process that prepares them is killed.
    """
    batches = (
        [(picture, source(picture)) for picture in pictures[start : start + BATCH_SIZE]]
        for start in range(0, len(pictures), BATCH_SIZE)
    )
    prepare_batch = functools.partial(_prepare, prepare_one)
    if len(pictures) <= BATCH_SIZE:
        yield map(prepare_batch, batches)
        return
    # Processes, because most of the work is Python; spawned, because the fork of a process with torch's threads may
    # hang. joblib's processes are not used: after Ctrl-C it prints tracebacks of its own threads.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        pool = ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), initializer=_ignore_interrupts)
    except OSError:  # no semaphores, for example because /dev/shm is read-only
        yield map(prepare_batch, batches)
        return
    try:
        with _signals_blocked():  # the new processes inherit this, until they set their own handlers
            waiting = deque(pool.submit(prepare_batch, batch) for batch in itertools.islice(batches, PREFETCH_BATCHES))
        yield _in_order(waiting, (pool.submit(prepare_batch, batch) for batch in batches))
    except BrokenProcessPool as error:
        raise RunError("a process that prepared pictures was killed; there may be too little memory") from error
    finally:
        with _signals_blocked():
            pool.shutdown(cancel_futures=True)


def _prepare(prepare_one: Callable[[Path | bytes], Any], sources: Sequence[tuple[str, Path | bytes]]) -> list[Prepared]:
    prepared: list[Prepared] = []
    for picture, source in sources:
        try:
            prepared.append((picture, prepare_one(source), None))
        except (opening.PictureError, photo.NoDigitError) as error:
            prepared.append((picture, None, error))
    return prepared


def _in_order(
    waiting: "deque[Future[list[Prepared]]]", following: Iterator["Future[list[Prepared]]"]
) -> Iterator[list[Prepared]]:
    while waiting:
        result = None
        while result is None:
            with _signals_blocked():  # an interruption inside the pool could leave it locked for ever
                if wait([waiting[0]], timeout=0.1).done:
                    result = waiting.popleft().result()
                    waiting.extend(itertools.islice(following, 1))
        yield result


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C and a closed terminal in this process: they reach all processes, and the first stops the others."""
    replace_handlers(signal.SIG_IGN, [number for number in STOP_SIGNALS if number != signal.SIGTERM])
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the signals that stop a process for a moment, where the system can."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
