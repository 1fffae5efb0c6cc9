"""Pictures by the thousand: found in files and folders, prepared side by side, and read as they come."""

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

STANDARD_INPUT = "-"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".mpo")
SEEN = ".seen.png"  # ends the name of what `show` writes
SURE = 0.6  # probability below which an answer is called unsure
TOGETHER = 64  # pictures prepared and read together
AHEAD = 32  # times as many are prepared before they are asked for, in the seconds that a network takes to load
FEW = 64  # pictures that are read before other processes would have started
SHOWN = 280  # pixels a side of what `show` draws

READ, UNSURE, NO_DIGIT, FAILED = "read", "unsure", "no digit", "failed"
NOT_SURE = f"unsure: no digit has {100 * SURE:.0f} %"


@dataclass(frozen=True)
class Answer:
    """What came of one picture.

    Attributes:
        picture: Its file; ``-`` for standard input.
        status: ``read``; ``unsure`` if the likeliest digit is not likely; ``no digit`` if there is none or several;
            ``failed`` if the file cannot be read.
        prediction: What it was read as; None for the last two.
        note: Why it is one of the last three.
        image: (28, 28) uint8, what the network saw; None where there was nothing to see.
    """

    picture: str
    status: str
    prediction: Prediction | None
    note: str
    image: Images | None


def find(words: Sequence[str]) -> list[str]:
    """The pictures that files, patterns and folders name, each once, those of a folder by name.

    Raises:
        UserError: If a folder or a pattern has none.
    """
    found: dict[str, None] = {}
    for word in words:
        if not word:
            raise UserError("an empty name is no picture.")
        path = Path(word)
        if word != STANDARD_INPUT and path.is_dir():
            pictures = list(_in_folder(path))
        elif not path.exists() and glob.has_magic(word):
            matches = sorted(glob.glob(word, recursive=True))
            pictures = [name for name in matches if os.path.isfile(name) and not name.endswith(SEEN)]
        else:
            pictures = [word]
        if not pictures:
            raise UserError(f"{word} has no pictures; their names end with {', '.join(SUFFIXES)}.")
        found.update(dict.fromkeys(pictures))
    return list(found)


Prepared = tuple[str, Images | None, UserError | None]
"""A picture's file, its digit as MNIST has them, (28, 28) uint8, or why there is none."""


@contextlib.contextmanager
def prepare(pictures: Sequence[str]) -> Iterator[Iterable[list[Prepared]]]:
    """Find the digits in pictures, in parts; of many at once, on all processor cores, while others work with the first.

    However many there are, two thousand of them are in memory at a time, and as 28×28 bytes.

    Args:
        pictures: Files; ``-`` for standard input.

    Raises:
        RunError: If one of the processes that prepare them is killed.
    """
    parts = (pictures[start : start + TOGETHER] for start in range(0, len(pictures), TOGETHER))
    if len(pictures) <= FEW:
        yield map(_prepared, parts)
        return
    # Processes, since most of it is Python; spawned, since a fork of a process with torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pool = ProcessPoolExecutor(cores, context, initializer=_leave_interrupts_to_the_first)
    try:
        with _no_signals():  # which the new processes inherit, until they see to it themselves
            waiting = deque(_submitted(pool, part) for part in itertools.islice(parts, AHEAD))
        yield _in_order(waiting, (_submitted(pool, part) for part in parts))
    except BrokenProcessPool as error:
        raise RunError("a process that prepared pictures was killed; there may be too little memory") from error
    finally:
        with _no_signals():
            pool.shutdown(cancel_futures=True)


def read(reader: DigitReader, prepared: Iterable[list[Prepared]]) -> Iterator[Answer]:
    """Read pictures one after the other.

    Args:
        reader: What `prediction.load` gives.
        prepared: What `prepare` gives.
    """
    for part in prepared:
        images = [image for _, image, _ in part if image is not None]
        predictions = iter(reader.predict_images(np.stack(images)) if images else [])
        for picture, image, failure in part:
            if image is None:
                status = NO_DIGIT if isinstance(failure, photo.NoDigitError) else FAILED
                yield Answer(picture, status, None, str(failure), None)
            else:
                prediction = next(predictions)
                sure = prediction.probability >= SURE
                yield Answer(picture, READ if sure else UNSURE, prediction, "" if sure else NOT_SURE, image)


def track(answers: Iterable[Answer], number: int) -> Iterator[Answer]:
    """The same answers, and a progress bar where there are many and a person waits for them elsewhere."""
    if number <= FEW or not sys.stderr.isatty() or sys.stdout.isatty():
        yield from answers
        return
    console = Console(stderr=True)
    yield from rich.progress.track(answers, "Reading pictures", total=number, console=console)


def show(answer: Answer) -> Path:
    """Save what the network saw beside the original, as ``FILE.seen.png`` in the folder of the picture.

    Raises:
        UserError: If it cannot be written.
    """
    assert answer.image is not None
    if answer.picture == STANDARD_INPUT:
        path, original = Path(f"standard-input{SEEN}"), photo.read(_standard_input())
    else:
        path, original = Path(f"{answer.picture}{SEEN}"), photo.read(Path(answer.picture))
    original = original.convert("RGB")
    original.thumbnail((SHOWN, SHOWN))
    seen = Image.fromarray(answer.image).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
    both = Image.new("RGB", (original.width + 16 + SHOWN, SHOWN), "white")
    both.paste(original, (0, (SHOWN - original.height) // 2))
    both.paste(seen, (original.width + 16, 0))
    file = io.BytesIO()
    both.save(file, "PNG")
    return save(path, file.getvalue())


def _prepared(pictures: Sequence[str]) -> list[Prepared]:
    return [_prepare(picture) for picture in pictures]


def _prepare(picture: str) -> Prepared:
    """One picture as a digit of MNIST, or why it is none."""
    try:
        content = _standard_input() if picture == STANDARD_INPUT else Path(picture)
        return picture, photo.digit(photo.read(content)), None
    except (photo.PictureError, photo.NoDigitError) as error:
        return picture, None, error


def _submitted(pool: ProcessPoolExecutor, part: Sequence[str]) -> "Future[list[Prepared]]":
    return pool.submit(_prepared, part) if STANDARD_INPUT not in part else _done(_prepared(part))


def _in_order(
    waiting: "deque[Future[list[Prepared]]]", following: Iterator["Future[list[Prepared]]"]
) -> Iterator[list[Prepared]]:
    while waiting:
        result = None
        while result is None:
            with _no_signals():  # one that came amid the pool's own work could leave it locked for ever
                if wait([waiting[0]], timeout=0.1).done:
                    result = waiting.popleft().result()
                    waiting.extend(itertools.islice(following, 1))
        yield result


def _done(result: list[Prepared]) -> "Future[list[Prepared]]":
    """Of what this process has to prepare itself: another has not its standard input."""
    future: Future[list[Prepared]] = Future()
    future.set_result(result)
    return future


def _leave_interrupts_to_the_first() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    """Put those that end a program off for a moment; where there is no way to, they come."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@functools.cache
def _standard_input() -> bytes:
    if sys.stdin is None:
        raise UserError("-: there is no standard input.")
    return sys.stdin.buffer.read()


def _in_folder(folder: Path) -> Iterator[str]:
    """Pictures in a folder and those below it, by name."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith(".") and not name.endswith(SEEN):
                yield os.path.join(place, name)
