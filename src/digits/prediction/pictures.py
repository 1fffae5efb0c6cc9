"""Many pictures at once: found in files and folders, prepared on all processor cores, and read in order."""

import contextlib
import functools
import glob
import io
import itertools
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rich.progress
from PIL import Image
from rich.console import Console

from digits.errors import RunError, UserError
from digits.prediction import photo
from digits.prediction.predict import DigitReader, Images, Prediction
from digits.runs.files import save
from digits.signals import STOP_SIGNALS, replace_handlers

STANDARD_INPUT = "-"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".mpo")
SHOWN_SUFFIX = ".seen.png"  # of the files that `show` writes
MIN_PROBABILITY = 0.6  # below which a prediction is unsure
BATCH_SIZE = 64  # pictures; so few are prepared before other processes would have started
PREFETCH_BATCHES = 32  # prepared before they are asked for, in the seconds that a network takes to load
SHOWN_SIZE = 280  # pixels per side of what `show` draws

READ, UNSURE, NO_DIGIT, FAILED = "read", "unsure", "no digit", "failed"
NOT_SURE = f"unsure: no digit has {100 * MIN_PROBABILITY:.0f} %"


@dataclass(frozen=True)
class Answer:
    """The result of one picture.

    Attributes:
        picture: Its file; ``-`` for standard input.
        status: ``read``; ``unsure`` if no digit is likely; ``no digit`` if there is none, or there are several;
            ``failed`` if the file cannot be read.
        prediction: The network's prediction; None for the last two.
        note: The reason for one of the last three.
        image: The input of the network, (28, 28) uint8; None for the last two.
    """

    picture: str
    status: str
    prediction: Prediction | None
    note: str
    image: Images | None


def find(words: Sequence[str]) -> list[str]:
    """Find the pictures in files, patterns and folders, each once; those of a folder in order of their names.

    Raises:
        UserError: If a folder or a pattern has none.
    """
    found: dict[str, None] = {}
    for word in words:
        if not word:
            raise UserError("an empty name is not a picture.")
        path = Path(word)
        if word != STANDARD_INPUT and path.is_dir():
            pictures = list(_in_folder(path))
        elif not path.exists() and glob.has_magic(word):
            matches = sorted(glob.glob(word, recursive=True))
            pictures = [name for name in matches if os.path.isfile(name) and not name.endswith(SHOWN_SUFFIX)]
        else:
            pictures = [word]
        if not pictures:
            raise UserError(f"{word} has no pictures; their names end with {', '.join(SUFFIXES)}.")
        found.update(dict.fromkeys(pictures))
    return list(found)


Prepared = tuple[str, Images | None, UserError | None]
"""A picture's file, its digit as in MNIST, (28, 28) uint8, or why there is none."""


@contextlib.contextmanager
def prepare(pictures: Sequence[str]) -> Iterator[Iterable[list[Prepared]]]:
    """Find the digits in pictures, batch by batch. Many pictures are prepared on all processor cores, ahead of use.

    However many there are, two thousand of them are in memory at a time, as 28×28 bytes.

    Args:
        pictures: Files; ``-`` for standard input.

    Raises:
        RunError: If a process that prepares them is killed.
    """
    batches = (
        [(picture, _standard_input() if picture == STANDARD_INPUT else Path(picture)) for picture in chosen]
        for chosen in (pictures[start : start + BATCH_SIZE] for start in range(0, len(pictures), BATCH_SIZE))
    )
    if len(pictures) <= BATCH_SIZE:
        yield map(_prepare, batches)
        return
    # Processes, because most of it is Python; spawned, because the fork of a process with torch's threads may hang.
    # joblib's prints tracebacks of its own threads after Ctrl-C.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        pool = ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), initializer=_ignore_interrupts)
    except OSError:  # without semaphores, as where /dev/shm is read-only
        yield map(_prepare, batches)
        return
    try:
        with _signals_blocked():  # the new processes inherit this, until they set their own handlers
            waiting = deque(pool.submit(_prepare, batch) for batch in itertools.islice(batches, PREFETCH_BATCHES))
        yield _in_order(waiting, (pool.submit(_prepare, batch) for batch in batches))
    except BrokenProcessPool as error:
        raise RunError("a process that prepared pictures was killed; there may be too little memory") from error
    finally:
        with _signals_blocked():
            pool.shutdown(cancel_futures=True)


def _prepare(sources: Sequence[tuple[str, Path | bytes]]) -> list[Prepared]:
    prepared: list[Prepared] = []
    for picture, source in sources:
        try:
            prepared.append((picture, photo.digit(photo.read(source)), None))
        except (photo.PictureError, photo.NoDigitError) as error:
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
    """Leave Ctrl-C and a closed terminal, which reach all processes, to the first one; it stops the others."""
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


def read(reader: DigitReader, prepared: Iterable[list[Prepared]]) -> Iterator[Answer]:
    """Read prepared pictures in order."""
    for part in prepared:
        images = [image for _, image, _ in part if image is not None]
        predictions = iter(reader.predict_images(np.stack(images)) if images else [])
        for picture, image, failure in part:
            if image is None:
                status = NO_DIGIT if isinstance(failure, photo.NoDigitError) else FAILED
                yield Answer(picture, status, None, str(failure), None)
            else:
                prediction = next(predictions)
                sure = prediction.probability >= MIN_PROBABILITY
                yield Answer(picture, READ if sure else UNSURE, prediction, "" if sure else NOT_SURE, image)


def track(answers: Iterable[Answer], number: int) -> Iterator[Answer]:
    """Show a progress bar if there are many answers, and they go into a file while the user looks at a terminal."""
    if number <= BATCH_SIZE or not sys.stderr.isatty() or sys.stdout.isatty():
        yield from answers
        return
    console = Console(stderr=True)
    yield from rich.progress.track(answers, "Reading pictures", total=number, console=console)


def show(answer: Answer) -> Path:
    """Save the network's input beside the original, as ``FILE.seen.png`` in the folder of the picture.

    Raises:
        UserError: If it cannot be written.
    """
    assert answer.image is not None
    if answer.picture == STANDARD_INPUT:
        path, original = Path(f"standard-input{SHOWN_SUFFIX}"), photo.read(_standard_input())
    else:
        path, original = Path(f"{answer.picture}{SHOWN_SUFFIX}"), photo.read(Path(answer.picture))
    original = original.convert("RGB")
    original.thumbnail((SHOWN_SIZE, SHOWN_SIZE))
    seen = Image.fromarray(answer.image).resize((SHOWN_SIZE, SHOWN_SIZE), Image.Resampling.NEAREST)
    both = Image.new("RGB", (original.width + 16 + SHOWN_SIZE, SHOWN_SIZE), "white")
    both.paste(original, (0, (SHOWN_SIZE - original.height) // 2))
    both.paste(seen, (original.width + 16, 0))
    file = io.BytesIO()
    both.save(file, "PNG")
    return save(path, file.getvalue())


@functools.cache
def _standard_input() -> bytes:
    if sys.stdin is None:
        raise UserError("-: there is no standard input.")
    return sys.stdin.buffer.read()


def _in_folder(folder: Path) -> Iterator[str]:
    """The pictures in a folder and below it, in order of their names."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith(".") and not name.endswith(SHOWN_SUFFIX):
                yield os.path.join(place, name)
