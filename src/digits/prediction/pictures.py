"""Many pictures at once: found in files and folders, and read in order."""

import functools
import glob
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rich.progress
from PIL import Image
from rich.console import Console

from digits.errors import UserError
from digits.model.spec import DIGITS, UNFAMILIAR, UNSURE
from digits.prediction.predict import DigitReader, Images, Prediction
from digits.preparation import parallel, photo
from digits.runs.files import save

STANDARD_INPUT = "-"
SHOWN_SIZE = 280  # pixels per side of what `show` draws

NO_DIGIT, FAILED = "no digit", "failed"
SEVERAL = 2  # likeliest classes that an unsure answer names


@dataclass(frozen=True)
class Answer:
    """The result of one picture.

    Attributes:
        picture: Its file; ``-`` for standard input.
        status: That of the prediction, ``read``, ``unsure`` or ``unfamiliar``; ``no digit`` if there is none, or there
            are several; ``failed`` if the file cannot be read.
        prediction: The network's prediction; None for the last two.
        note: The reason for any status but ``read``.
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
            pictures = list(photo.in_folder(path))
        elif not path.exists() and glob.has_magic(word):
            matches = sorted(glob.glob(word, recursive=True))
            pictures = [name for name in matches if os.path.isfile(name) and not name.endswith(photo.SHOWN_SUFFIX)]
        else:
            pictures = [word]
        if not pictures:
            raise UserError(f"{word} has no pictures; their names end with {', '.join(photo.SUFFIXES)}.")
        found.update(dict.fromkeys(pictures))
    return list(found)


def prepare(pictures: Sequence[str], how: str = "photo") -> AbstractContextManager[Iterable[list[parallel.Prepared]]]:
    """Prepare pictures in batches, as `parallel.prepare` does; ``-`` stands for standard input."""
    return parallel.prepare(pictures, how, lambda name: _standard_input() if name == STANDARD_INPUT else Path(name))


def read(reader: DigitReader, prepared: Iterable[list[parallel.Prepared]]) -> Iterator[Answer]:
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
                yield Answer(picture, prediction.status, prediction, _doubt(prediction), image)


def _doubt(prediction: Prediction) -> str:
    """Why a prediction is not trusted."""
    if prediction.status == UNFAMILIAR:
        kind = "a digit" if prediction.classes == DIGITS else "a known class"
        return f"unfamiliar: not {kind}, or unlike all that the network has learned"
    if prediction.status == UNSURE:
        return f"unsure: {' or '.join(prediction.classes[index] for index, _ in prediction.ranking[:SEVERAL])}"
    return ""


def track(answers: Iterable[Answer], number: int) -> Iterator[Answer]:
    """Show a progress bar if there are many answers, and they go into a file while the user looks at a terminal."""
    if number <= parallel.BATCH_SIZE or not sys.stderr.isatty() or sys.stdout.isatty():
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
        path, original = Path(f"standard-input{photo.SHOWN_SUFFIX}"), photo.read(_standard_input())
    else:
        path, original = Path(f"{answer.picture}{photo.SHOWN_SUFFIX}"), photo.read(Path(answer.picture))
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
