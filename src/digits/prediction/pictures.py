"""Many pictures at once: found in files and folders, and read in order."""

import functools
import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from digits.errors import UserError
from digits.model.spec import DIGITS, UNFAMILIAR, UNSURE
from digits.prediction import rows
from digits.prediction.exported import Images
from digits.prediction.predict import DigitReader, Prediction
from digits.preparation import characters, opening, parallel, photo

STANDARD_INPUT = "-"

NO_DIGIT, FAILED = "no digit", "failed"
LIKELY = 2  # number of likeliest classes that an unsure answer names


@dataclass(frozen=True)
class Answer:
    """The result of one picture.

    Attributes:
        picture: Its file; ``-`` for standard input.
        status: That of the prediction or row, ``read``, ``unsure`` or ``unfamiliar``; ``no digit`` if there is none, or
            there are several digits or rows; ``failed`` if the file cannot be read.
        prediction: The network's prediction; None for the last two, and for a row.
        note: The reason for any status but ``read``.
        image: The input of the network, (28, 28) uint8; None for the last two, and for a row.
        row: The row that was read, instead of a prediction.
    """

    picture: str
    status: str
    prediction: Prediction | None
    note: str
    image: Images | None
    row: rows.Row | None = None


def find(words: Sequence[str]) -> list[str]:
    """Find the pictures in files, patterns and folders, each once; those of a folder in order of their names.

    Raises:
        UserError: If a folder or a pattern has none, or a name is empty.
    """
    found: dict[str, None] = {}
    for word in words:
        if not word:
            raise UserError("an empty name is not a picture.")
        path = Path(word)
        if word != STANDARD_INPUT and path.is_dir():
            pictures = list(opening.in_folder(path))
        elif not path.exists() and glob.has_magic(word):
            matches = sorted(glob.glob(word, recursive=True))
            pictures = [name for name in matches if os.path.isfile(name) and not name.endswith(opening.SHOWN_SUFFIX)]
        else:
            pictures = [word]
        if not pictures:
            raise UserError(f"{word} has no pictures; their names end with {', '.join(opening.SUFFIXES)}.")
        found.update(dict.fromkeys(pictures))
    return list(found)


def prepare(
    pictures: Sequence[str], how: str = "photo", are_rows: bool = False
) -> AbstractContextManager[Iterable[list[parallel.Prepared]]]:
    """Prepare pictures in batches, as `parallel.prepare` does; ``-`` stands for standard input.

    Raises:
        UserError: If they are rows, and ``how`` is not ``photo``.
    """
    if are_rows:
        rows.check_rows(how)
    prepare_one = characters.prepare if are_rows else functools.partial(photo.prepare, how=how)
    return parallel.prepare(pictures, prepare_one, source_of)


def read(reader: DigitReader, prepared: Iterable[list[parallel.Prepared]]) -> Iterator[Answer]:
    """Read prepared pictures in order, each with one digit."""
    for part in prepared:
        images = [image for _, image, _ in part if image is not None]
        predictions = iter(reader.predict_images(np.stack(images)) if images else [])
        for picture, image, failure in part:
            if failure:
                yield _failed(picture, failure)
            else:
                prediction = next(predictions)
                yield Answer(picture, prediction.status, prediction, _doubt(prediction), image)


def read_rows(reader: DigitReader, prepared: Iterable[list[parallel.Prepared]]) -> Iterator[Answer]:
    """Read prepared pictures in order, each with a row of digits."""
    for part in prepared:
        found = iter(rows.read(reader, [row for _, row, _ in part if row is not None]))
        for picture, _, failure in part:
            if failure:
                yield _failed(picture, failure)
            else:
                row = next(found)
                yield Answer(picture, row.status, None, row.note, None, row)


def _failed(picture: str, failure: UserError) -> Answer:
    return Answer(picture, NO_DIGIT if isinstance(failure, photo.NoDigitError) else FAILED, None, str(failure), None)


def _doubt(prediction: Prediction) -> str:
    """Why a prediction is not trusted."""
    if prediction.status == UNFAMILIAR:
        kind = "a digit" if prediction.classes == DIGITS else "a known class"
        return f"unfamiliar: not {kind}, or unlike all that the network has learned"
    if prediction.status == UNSURE:
        return f"unsure: {' or '.join(prediction.classes[index] for index, _ in prediction.ranking[:LIKELY])}"
    return ""


def source_of(picture: str) -> Path | bytes:
    """The file of a picture, or the content of standard input."""
    return _standard_input() if picture == STANDARD_INPUT else Path(picture)


@functools.cache
def _standard_input() -> bytes:
    if sys.stdin is None:
        raise UserError("-: there is no standard input.")
    return sys.stdin.buffer.read()
